"""Every stream that a test gets through GaleServer is checked here, whatever the test itself looks at."""

from messages_checker import check_messages_stream
from responses_checker import check_responses_stream
from stream_checker import check_chat_stream, check_completion_stream


def num_choices_of(body):
    prompts = body.get("prompt")
    is_list = isinstance(prompts, list) and prompts and not isinstance(prompts[0], int)
    return (len(prompts) if is_list else 1) * (body.get("n") or 1)


def openai_stream(check):
    def checked(raw, body):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return check(raw, num_choices=num_choices_of(body), include_usage=wants_usage)

    return checked


CHECKS = {
    "/v1/chat/completions": openai_stream(check_chat_stream),
    "/v1/completions": openai_stream(check_completion_stream),
    "/v1/messages": lambda raw, body: check_messages_stream(raw),
    "/v1/responses": lambda raw, body: check_responses_stream(raw),
}


def check_answer(path, body, request_headers, status, content_type, raw):
    """What the stream said; None for an answer that is no stream, or only the rest of one that was lost."""
    check = CHECKS.get(path.partition("?")[0])
    is_stream = status == 200 and (content_type or "").startswith("text/event-stream")
    if check is None or not is_stream or not isinstance(body, dict) or "Last-Event-ID" in (request_headers or {}):
        return None
    return check(raw, body)
