"""Well-known tools, as people write them, and the many ways to ask for them."""

from dataclasses import dataclass

import words
from tool_parts import CURRENCIES, LANGUAGES, PARAMETERS, Parameter, flag, one_of, text, title, up_to, whole, yes_no


@dataclass(frozen=True)
class KnownTool:
    """A tool as people write it, with requests; {parameter} stands for a value."""

    name: str
    description: str
    parameters: tuple[str, ...]
    required: int
    requests: tuple[str, ...]


KNOWN = [
    KnownTool("get_weather", "Get the current weather for a city", ("city",), 1,
              ("(What's|What is|How is) the weather( like|) (in|at) {city}( today| now| right now|)?",
               "(Tell me|Get|Check|Show me) the weather (in|for|of) {city}(.|)",
               "Is it (raining|sunny|cold|warm|hot|snowing|windy) in {city}?", "{city}(今天|现在|)(的|)天气(怎么样|如何)？",
               "Do I need an umbrella in {city}?",
               "(How is|How's|What about) the weather (over |)(in|at|around) {city}( these days| this morning| "
               "tonight| at the moment|)?",
               "(Will|Does|Is) it (going to |)(rain|snow|be sunny|get cold|be windy|storm) in {city}( today| "
               "tomorrow|)?",
               "(Weather|The weather) (report|now|today|update) (for|in|from) {city}(.|)",
               "(I|We) (am|are) (in|going to|flying to|visiting|off to) {city}(.|, so|;) (what|how) (is|will) the "
               "weather( be| there|)( like|)?",
               "(Please |)(find out|look up|check|see|report|fetch|give me) (what the weather is|the weather|how the "
               "weather is) (in|for|at) {city}(.|)",
               "{city}: (weather|the weather|how is the weather|what is the weather)(?|)",
               "(How|What) (warm|cold|hot|windy|wet) is it (in|at) {city}( now| today|)?",
               "(Should|Must|Can) I (take|bring|wear) (a coat|a jacket|an umbrella|a hat|sunglasses) (in|to) {city}( "
               "today|)?",
               "(I want|I need|I'd like|We want) (to know |)the weather (in|of|for) {city}(.|)",
               "(What|How) does the (sky|weather) look (like |)(in|over) {city}?",
               "(Tell|Show) me (if|whether) it (rains|snows|is cold|is warm) in {city}(.|)",
               "(请|帮我|我想|麻烦|)(查|查一下|看看|查询|知道){city}(今天|现在|这会儿|)的天气(。|吧|)",
               "{city}(会|在)(下雨|下雪|刮风)吗？",
               "{city}(冷|热|暖和)(不冷|不热|吗|)？",
               "我要去{city}，(那里|那边|)天气(好吗|怎样|如何)？",
               "(告诉我|说说|问问|想问)(一下|){city}(的|)天气(情况|)(。|)")),
    KnownTool("get_weather", "Get the weather of a city for some days", ("city", "days"), 2,
              ("(What's|What is) the weather in {city} for (the next |){days} days?",
               "(Forecast|Weather) for {city}(,| for) {days} days(.|)", "{city}未来{days}天的天气怎么样？",
               "I (need|want) a {days} day forecast for {city}(.|)",
               "(How|What) will the weather be in {city} (in|over|during|for) the (next|coming) {days} days?",
               "(Give|Show|Get|Tell) me (the|a) (forecast|weather forecast) (of|for) {city}(,| for| over) (the next "
               "|){days} days(.|)",
               "(I|We) (stay|are|will be) in {city} for {days} days(.|,) (What|How) (will|is) the weather( be|)?",
               "{days} days of weather (in|for) {city}(, please|)(.|)",
               "{city}, (next |){days} days: (the |)weather(?|.|)",
               "(查|看|预报)(一下|){city}(接下来|之后|未来|)({days}天)的天气(。|)",
               "{city}{days}天(之内|内|)的(天气|)预报(。|)")),
    KnownTool("get_current_weather", "Get the current weather in a given location", ("location", "unit"), 1,
              ("(What's|What is) the weather (like |)in {location} in {unit}?",
               "(Tell me|Show me) the weather in {location}( now|)(.|)",
               "How (warm|cold|hot) is it in {location} in {unit}?",
               "(What's|What is) the weather (like |)in {location}( today| right now|)?",
               "(Give|Get) me the (current |)weather (of|for|at|in) {location}(,| in| as| using) {unit}(.|)",
               "(Is it|Will it be) (warm|cold|raining) (at|in) {location}( today| now|)?",
               "{location}: (current |)weather(, | in ){unit}(.|)",
               "(Check|Look up|Find|Report) (the|current|today's) weather (at|in|for) {location}(.|)",
               "How many degrees {unit} (are there|is it|does it have) in {location}?",
               "{location}(现在|目前)的天气(怎么样|)(？|)")),
    KnownTool("get_time", "Get the current time in a city", ("city",), 1,
              ("What time is it in {city}( now|)?", "(Tell me|Get) the time in {city}(.|)", "{city}现在几点？",
               "What's the (local |)time in {city}?",
               "(How late|What hour|What time) is it (now |)(over |)in {city}?",
               "(Give|Show) me the (current |local |)time (in|of|for) {city}(.|)",
               "{city} time( now|)(?|)",
               "(Do you know|Check|Look up|I need) (what time it is|the time) in {city}(.|?|)",
               "(请问|现在|告诉我|){city}(是|)(几点|什么时间)(了|)？",
               "(It is night here.|I call a friend.|I have a meeting.|) What is the time in {city}?")),
    KnownTool("get_time", "Get the current time", (), 0, ("What time is it( now|)?",
                                                          "(Tell me|Get|What is) the (current |)time(.|)", "现在几点(了|)？",
               "(How late|What hour) is it(?| now?)",
               "(Do you know|Check|Look up|I need|Give me|Show me) (what time it is|the time)( now|)(.|?|)",
               "(Time|The time|Current time)(, please|, now|)(?|.|)",
               "(请问|告诉我|看看|)(现在|)(几点|什么时间|时间)(了|)(？|)")),
    KnownTool("add", "Add two numbers", ("a", "b"), 2,
              ("(Add|Please add|Use the tool to add) {a} and {b}(.|)", "What is {a} plus {b}?", "{a} + {b}",
               "What is {a} + {b}?", "把{a}和{b}相加(。|)",
               "(How much|What) (is|makes|do you get for) {a} (and|plus|+) {b}( together|)?",
               "(Sum|Sum up|Total|Put together|Take) {a} (and|with|,) {b}(.|)",
               "(The|Give me the|I need the|What is the) (sum|total) of {a} and {b}(.|?|)",
               "{a} plus {b}( =| is|)(?|)",
               "(Add|Count|Put) {b} to {a}(.|)",
               "(I have|There are) {a} (apples|coins|books|points) and (get|find|buy|receive) {b} more(.|,) (How "
               "many|What) (do I have|are there|is that)( now| in all|)?",
               "(Work out|Compute|Calculate|Find) {a} (+|plus|and) {b}(.|)",
               "{a}(加上|加){b}(等于|是)(多少|几)？",
               "(计算|求|算)(一下|){a}(加|和){b}(的和|)(。|)",
               "(With the tool|By tool|Using add): {a} and {b}(.|)")),
    KnownTool("multiply", "Multiply two numbers", ("a", "b"), 2,
              ("(Multiply|Please multiply) {a} (by|and|with) {b}(.|)", "What is {a} times {b}?", "{a} * {b}",
               "{a}乘以{b}是多少？",
               "(The|Give me the|I need the|What is the) product of {a} and {b}(.|?|)",
               "(How much|What) (is|makes|are) {a} (times|multiplied by|by|x) {b}?",
               "(Take|Compute|Calculate|Work out|Find) {a} (times|*|x|multiplied by) {b}(.|)",
               "{a} times {b}( =| is|)(?|)",
               "(There are|I have|We have) {a} (boxes|bags|rows) (of|with) {b} (each|pieces|)(.|:) (How many|What) (is "
               "that|are there)?",
               "{a}(乘|乘以|×){b}(等于|是|)(多少|几|)(？|)",
               "(计算|求|算)(一下|){a}(乘|和){b}(的积|)(。|)",
               "Multiply {b} (into|with|by) {a}(.|)")),
    KnownTool("calculator", "Evaluate an arithmetic expression", ("expression",), 1,
              ("(Calculate|Compute|Evaluate|What is) {expression}(?|.|)", "(计算|请计算){expression}(。|)",
               "(Work out|Solve|Find|Give me|Tell me|Do) {expression}(.|, please|)",
               "{expression} (=|is|makes|gives)( what|)(?|)",
               "(How much|What) (is|does|makes) {expression}( make| give|)?",
               "(The result|The value) of {expression}(?|.|, please)",
               "(Use|Take|With) the calculator(:| for| on) {expression}(.|)",
               "{expression}(等于|是|得)(多少|几)(？|)",
               "(算|求|帮我算)(一下|){expression}(。|)")),
    KnownTool("web_search", "Search the web", ("query",), 1,
              ("(Search|Look|Search the web|Google|Search online) for {query}(.|)",
               "Find (me |)(information|something|pages) (about|on) {query}(.|)", "搜索{query}(。|)",
               "(Look up|Look for|Google|Search|Find|Research|Check) {query}( online| on the web| on the internet| for "
               "me|)(.|, please|)",
               "(What does|What can you find|What is there|Is there anything) (the web say |on the web |online "
               "|)(about|on) {query}?",
               "(I want|I need|I'd like) (to read|to know|something|information|news|pages|more) (about|on) "
               "{query}(.|)",
               "(Do|Run|Make|Start) a (web |)search (for|on|about) {query}(.|)",
               "(Search the internet|Ask the web|Query the web|Use the search) (for|about|on): {query}(.|)",
               "(Can|Would|Will) you (please |)(look up|find|google|research) {query}( for me|)?",
               "Web search: {query}",
               "(查|搜|找|上网查|网上搜)(一下|){query}(。|)",
               "(请|帮我|)(搜索|查找|查询)(关于|){query}(的信息|的资料|)(。|)")),
    KnownTool("send_email", "Send an email", ("recipient", "subject", "message"), 3,
              ("(Send|Write) an email to {recipient} with the subject \"{subject}\" (saying|and the text) "
               "\"{message}\"",
               "Email {recipient} about \"{subject}\": \"{message}\"",
               "给{recipient}发一封邮件，主题是“{subject}”，内容是“{message}”",
               "(Mail|Write|Send|Send a mail to|Write to) {recipient}(,| with the| and use the) subject "
               "\"{subject}\"(,| and| with the) (text|message|body) \"{message}\"(.|)",
               "(An email|A mail|Mail|Email) (to|for) {recipient}(.|:|,) (Subject|Title|Its subject)(:| is|) "
               "\"{subject}\"(.|,) (Text|Message|The text)(:| is|) \"{message}\"(.|)",
               "(Tell|Let) {recipient} (know |)by (email|mail)(:|) \"{message}\"(.|,) (the |)subject (is|being|should "
               "be) \"{subject}\"(.|)",
               "(写|发)(一封|封|)邮件给{recipient}，(主题|标题)(是|：|为)“{subject}”，(正文|内容|文字)(是|：|为)“{message}”(。|)")),
    KnownTool("set_timer", "Set a timer", ("minutes",), 1,
              ("(Set|Start) a timer (for|of) {minutes} minutes(.|)", "(Wake|Remind|Call) me in {minutes} minutes(.|)",
               "设(一个|)(定时器|计时器){minutes}分钟(。|)", "Timer, {minutes} minutes(.|)",
               "(Put|Make|Run|Begin|I want|I need|Give me|Let's have|Please set) a timer (for|of|with|on|to) {minutes} "
               "(minutes|min)(.|)",
               "(Alert|Ping|Tell|Warn|Notify|Alarm) me (in|after) {minutes} (minutes|min)(.|)",
               "(Set|Start) (the|a|my) (kitchen |egg |tea |) timer (to|at|on|for) {minutes}( minutes|)(.|)",
               "{minutes} (minutes|minute timer|min)(, please|, timer on|: start|)(.|)",
               "(My|The) (eggs|noodles|cake|rice|bread|laundry|pizza) (need|needs|take|takes) {minutes} minutes(.|,|;) "
               "(set|start) (a|the) timer(.|)",
               "(Count|Time|Measure) {minutes} minutes( for me|)(.|)",
               "(Timer|Countdown)(:| of| for|,) {minutes}( minutes| min|)(.|)",
               "(Can|Will|Could) you (set|start|run) a timer (for|of) {minutes} minutes( for me|)?",
               "{minutes}分钟(后|之后)(提醒|叫|通知)我(。|)",
               "(开始|启动|开|定|给我设|来)(一个|个|){minutes}分钟的(计时|定时器|倒计时|计时器)(。|)",
               "(倒计时|计时|定时){minutes}分钟(。|)")),
    KnownTool("convert_currency", "Convert an amount of money into another currency",
              ("amount", "from_currency", "to_currency"), 3,
              ("(Convert|Change) {amount} {from_currency} (to|into) {to_currency}(.|)",
               "How much is {amount} {from_currency} in {to_currency}?", "{amount} {from_currency}等于多少{to_currency}？",
               "(What|How much|How many) {to_currency} (is|are|do I get for|makes|would be) {amount} {from_currency}?",
               "(Exchange|Turn|Swap|Switch|Calculate) {amount} {from_currency} (to|into|in|for) {to_currency}(.|)",
               "{amount} {from_currency} (in|to|as|into) {to_currency}(?|.|, please|)",
               "(I|We) (have|hold|own|got|earn|paid|need to pay|want to change) {amount} {from_currency}(.|,|;) "
               "(what|how much) is (that|it) in {to_currency}?",
               "(What is|Tell me|Find|Give me) the (value|worth|price) of {amount} {from_currency} in "
               "{to_currency}(.|?|)",
               "(Change|Convert) my {amount} {from_currency} (to|into) {to_currency}(.|)",
               "(From|Take) {from_currency} (to|into) {to_currency}: {amount}",
               "(把|将){amount}(个|){from_currency}(换成|兑换成|换算成|转成){to_currency}(。|)",
               "{amount}{from_currency}(是|能换|兑)(多少|几){to_currency}？")),
    KnownTool("translate", "Translate a text", ("text", "target_language"), 2,
              ("Translate \"{text}\" (to|into) {target_language}(.|)",
               "How do you say \"{text}\" in {target_language}?", "把“{text}”翻译成{target_language}(。|)",
               "(What is|What's|Say|Write|Put|Give me) \"{text}\" in {target_language}(.|?|)",
               "(I need|I want|Make|Give me|Do) (a|the) {target_language} (translation|version) of \"{text}\"(.|)",
               "(Turn|Convert|Bring|Change) \"{text}\" (into|to) {target_language}(.|)",
               "\"{text}\" (in|into|to) {target_language}(, please|)(?|.|)",
               "(Translate|Please translate) (this |the text |the sentence |)(to|into) {target_language}: "
               "\"{text}\"(.|)",
               "(How|What) (would|does) (a|one|my) (friend|teacher|guest|person|) say \"{text}\" in {target_language}?",
               "(将|请把|把)“{text}”(译成|翻成|翻译为|译为){target_language}(。|)",
               "“{text}”用{target_language}(怎么说|怎么讲|如何说)？")),
    KnownTool("book_flight", "Book a flight", ("origin", "destination", "date"), 3,
              ("(Book|Find|I need|Get me) a flight from {origin} to {destination} on {date}(.|)",
               "I want to fly from {origin} to {destination} on {date}(.|)", "预订{date}从{origin}到{destination}的航班(。|)",
               "(Reserve|Order|Buy|Get|Arrange) (a |me a |us a |)(flight|ticket|seat|plane ticket) (from|out of) "
               "{origin} to {destination} (on|for) {date}(.|)",
               "(I|We) (need|have|plan|would like|am going) to (fly|travel|go|get) from {origin} to {destination} on "
               "{date}(.|,) (Book it|Find a flight|Book a flight|Reserve it)(.|)",
               "(Flight|A flight|Plane|Ticket) {origin} (to|-) {destination}(,| on) {date}(.|, please|)",
               "(For|On) {date} (book|find|get|reserve) (a |me a |)flight (from|leaving) {origin} (to|for) "
               "{destination}(.|)",
               "(My|The) (trip|flight|journey) (starts|begins|is) on {date}(,| and goes|:) from {origin} to "
               "{destination}(.|,) (book it|please book)(.|)",
               "(Is there|Are there) (a flight|flights) from {origin} to {destination} on {date}?",
               "(Fly|Take|Bring|Get) me (from |out of ){origin} to {destination} on {date}(.|)",
               "(我要|帮我|请|)(订|买|预订)(一张|){date}(从|){origin}(到|飞|去|飞往){destination}的(机票|航班|飞机票)(。|)",
               "{date}我(要|想|得)从{origin}(飞|去|飞往){destination}(，请订票|，订机票|)(。|)")),
    KnownTool("get_stock_price", "Get the price of a stock", ("symbol",), 1,
              ("(What is|What's|Get|Show me) the (stock |)price of {symbol}(?|)",
               "How (much is|is) {symbol}( trading| stock|)( today| now|)?", "{symbol}的股价是多少？",
               "(What|How much) (does|do|is|are) (a share of |the shares of |the stock |one |){symbol} "
               "(cost|worth|shares|trade at)( now| today|)?",
               "(Price|Stock price|Quote|Share price) (of|for) {symbol}(, please|)(?|.|)",
               "(Look up|Check|Find|Fetch|Tell me|Give me|I need|I want) (the |a |)(price|quote|stock price|share "
               "price|value) (of|for) {symbol}(.|)",
               "{symbol}: (price|stock price|how much|quote)(?|)",
               "(How|Where) (is|does) {symbol} (stand|doing|priced|quoted)( today| now|)?",
               "(I|We) (want to|may|will) (buy|sell) {symbol}(.|,) (What|How much) (is the price|does it cost|is it)?",
               "{symbol}(现在|今天|)(的|)(股价|价格|股票)(多少|是多少|怎么样|)(？|)",
               "(查|看|告诉我)(一下|){symbol}的(股价|价格)(。|)")),
    KnownTool("read_file", "Read a file", ("path",), 1,
              ("(Read|Open|Show me|Print|What is in) (the file |){path}(.|)", "(读取|打开)(文件|){path}(。|)",
               "Show me the contents of {path}(.|)",
               "(Show|Print|Display|Output|Get|Load|List|View|Cat|Give me) (the (content|contents|text) of |the file "
               "|file |){path}(.|)",
               "(What|Tell me what) (is|does|stands|is written|is stored) (in|inside|the file) {path}( contain| "
               "say|)(?|.|)",
               "(I need|I'd like|Let me see|We need) (the (text|content|contents) of |the file |to read |to look into "
               "){path}(.|)",
               "(Have a look|Look) (at|into|inside) (the file |){path}(.|)",
               "(Can|Could|Will) you (read|open|show|print) (the file |){path}( for me| to me|)?",
               "{path}: (read it|show it|open it|what is inside)(.|?|)",
               "(看|看一下|显示|打印|给我看)(文件|){path}(的内容|)(。|)",
               "{path}(里|里面|中)(有什么|写了什么|是什么)？")),
    KnownTool("turn_light", "Turn a light on or off", ("room", "on"), 2,
              ("(Turn|Switch) {on} the light in the {room}(.|)", "Light {on} in the {room}( please|)(.|)",
               "(Please |)(turn|switch|put) the (light|lamp|lights) in the {room} {on}(.|, please|)",
               "{room} light {on}(, please|)(.|)",
               "(I want|I'd like|Make|Let) the (light|lights|lamp) (in|of) the {room} (to be |be |){on}(.|)",
               "(It is|It's|It gets) (dark|late|bright) (here|in the {room})(.|:|,) (Turn|Switch) the {room} light "
               "{on}(.|)",
               "(Can|Could|Would) you (turn|switch) {on} the {room} (light|lights|lamp)?",
               "(The light|The lights|Lights|Lamps) in the {room}(:| must be| should be|) {on}(.|)")),
    KnownTool("play_music", "Play a song of an artist", ("artist", "song"), 1,
              ("Play \"{song}\" by {artist}(.|)", "(Play|Put on) (something|music|a song) (by|from) {artist}(.|)",
               "(Start|Put on|Stream|Begin|I want) \"{song}\" (by|from|of) {artist}(.|)",
               "(Can|Could|Will) you play (some |a song |music |something |)(by|from|of) {artist}?",
               "(I'd like|I want|We want|Let me|Let us) (to listen to|listen to|to hear|hear) (some songs of|songs "
               "by|a song by|the music of|) {artist}(.|)",
               "(Some|A little|More) (music|songs) (by|from|of) {artist}(, please|)(.|)",
               "(Start|Put on|Stream|Begin) (the |some |)(music|songs) (by|of|from) {artist}(.|)",
               "(Music|Song|Songs)(:| by| of) {artist}(.|)",
               "(I love|I like|We like) {artist}(.|,) (Play something|Play a song|Play some music|Put it on)(.|)",
               "(播放|放|我想听|来一首|听){artist}的(歌|音乐|歌曲)(。|)")),
    KnownTool("create_reminder", "Create a reminder", ("text", "time"), 2,
              ("Remind me (at|to be at it at) {time}: \"{text}\"",
               "(Create|Set) a reminder \"{text}\" (for|at) {time}(.|)", "在{time}提醒我“{text}”(。|)",
               "(Please |)(remind|tell|alert) me of \"{text}\" at {time}(.|)",
               "(At {time}|For {time})(,| please| I want to be reminded|:) (remind me|a reminder|set a reminder)(:| "
               "of| saying) \"{text}\"(.|)",
               "(Make|Add|Put|Save|New|I need) (a |)reminder (for|at) {time}(:| with the text| saying|,) "
               "\"{text}\"(.|)",
               "(Don't|Do not) let me forget \"{text}\" at {time}(.|)",
               "\"{text}\" at {time}(: remind me|, remind me|, please remind me)(.|)",
               "(请|)(设|创建|添加)(一个|){time}的提醒(：|，内容是)“{text}”(。|)",
               "{time}(时|)(记得|要|)(提醒我|叫我)“{text}”(。|)")),
]

EXTRA = {
    "a": Parameter("a", whole("First number"), up_to(999), ()),
    "b": Parameter("b", whole("Second number"), up_to(999), ()),
    "expression": Parameter("expression", text("For example 2 + 3"),
                            lambda rng: f" {rng.choice('+-*/')} ".join(words.number(rng,
                                                                                    3) for _ in range(rng.randint(2,
                                                                                                                  3))),
                            ()),
    "subject": Parameter("subject", text("The subject"), title, ()),
    "from_currency": Parameter("from_currency", text("Currency code"), one_of(*CURRENCIES), ()),
    "to_currency": Parameter("to_currency", text("Currency code"), one_of(*CURRENCIES), ()),
    "text": Parameter("text", text("The text"), words.sentence, ()),
    "target_language": Parameter("target_language", text("The language to translate into"), one_of(*LANGUAGES), ()),
    "origin": Parameter("origin", text("City of departure"), words.city, ()),
    "destination": Parameter("destination", text("City of arrival"), words.city, ()),
    "symbol": Parameter("symbol", text("Ticker symbol"), lambda rng: words.made_up(rng).upper()[:rng.randint(3, 4)],
                        ()),
    "room": Parameter("room", text("The room"), one_of("kitchen", "bedroom", "office", "garage", "hall", "bathroom",
                                                       "cellar"), ()),
    "on": Parameter("on", flag("true for on, false for off"), yes_no, ()),
    "artist": Parameter("artist", text("The artist"), words.name, ()),
    "song": Parameter("song", text("The song"), title, ()),
}
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS} | EXTRA
