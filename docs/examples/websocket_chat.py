"""Two chats at once over one WebSocket: python websocket_chat.py ws://127.0.0.1:8000/v1/chat/completions [KEY]"""

import asyncio
import json
import sys

import websockets


async def main(url, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with websockets.connect(url, additional_headers=headers) as socket:
        questions = {"a": "Which port does the gale API use by default?",
                     "b": "Which port does the gale page use by default?"}
        for request_id, question in questions.items():
            await socket.send(json.dumps({"request_id": request_id, "messages": [{"role": "user", "content": question}],
                                          "max_tokens": 200,
                                          "temperature": 0}))
        answers = dict.fromkeys(questions, "")
        waiting = set(questions)
        while waiting:
            message = json.loads(await socket.recv())
            if message.get("type") == "done":
                waiting.discard(message["request_id"])
            elif "error" in message:
                raise RuntimeError(message["error"]["message"])
            for choice in message.get("choices", []):
                answers[message["request_id"]] += choice["delta"].get("content") or ""
    for request_id, answer in answers.items():
        print(f"{request_id}: {answer}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
