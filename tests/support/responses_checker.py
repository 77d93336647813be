"""Checks the bytes of one /v1/responses stream: numbers, order of events, and that the parts add up to the whole."""

from messages_checker import events_of
from stream_checker import require


def check_item_event(kind, payload, items):
    """items: [item, text so far, is done] by output index."""
    index = payload["output_index"]
    if kind == "response.output_item.added":
        require(index == len(items), "items are added in order", payload)
        require(all(done for _, _, done in items), "one item at a time", payload)
        items.append([payload["item"], "", False])
        return
    entry = items[index]
    require(index == len(items) - 1 and not entry[2], "events belong to the open item", payload)
    require(payload.get("item_id", entry[0]["id"]) == entry[0]["id"], "an item keeps its id", payload)
    if kind.endswith(".delta"):
        require(payload["delta"], "a delta is not empty", payload)
        entry[1] += payload["delta"]
    elif kind.endswith(("_text.done", "_arguments.done")):
        require(payload.get("text", payload.get("arguments")) == entry[1], "the deltas add up", payload)
    elif kind == "response.output_item.done":
        entry[0], entry[2] = payload["item"], True


def check_responses_stream(raw):
    """The final response object."""
    kinds, items, final = [], [], None
    for number, (kind, payload) in enumerate(events_of(raw)):
        require(final is None, "nothing follows the end", payload)
        require(payload["sequence_number"] == number, "events are numbered without gaps", payload)
        kinds.append(kind)
        if "output_index" in payload:
            check_item_event(kind, payload, items)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            final = payload["response"]
    require(kinds[:2] == ["response.created", "response.in_progress"], "a stream begins with created, in_progress",
            kinds[:2])
    require(final is not None, "a stream ends with completed, incomplete or failed")
    has_failed = final["status"] == "failed"   # an open item may have come further than was told
    told = [item for item, _, is_done in items if is_done or not has_failed]
    whole = final["output"][: len(told)] if has_failed else final["output"]
    require(whole == told, "the whole holds the items that were streamed", final)
    return final
