"""What the OpenAPI document cannot say: which tokens there are, and how finely each can be divided.

Orders of random names and amounts would nearly all be refused. So where those are as the document wants them, some are
exchanged for ones that the engine knows; whatever else is wrong with a request stays wrong.
"""

import re

import schemathesis

SYMBOLS = ["SOL", "USDC", "USDT", "BONK"]
NUMBER = re.compile(r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$", re.ASCII)
AMOUNTS = ["amountIn", "amount", "minAmountOut"]


def is_amount(value):
    if isinstance(value, str):
        return bool(NUMBER.match(value)) and len(value) <= 128
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def known(fields):
    tokens = [fields.get("tokenIn"), fields.get("tokenOut")]
    if not all(isinstance(token, str) and 0 < len(token) <= 64 for token in tokens):
        return fields
    seed = sum(len(token) for token in tokens)
    if seed % 5 == 4:
        return fields
    fields = dict(fields)
    fields["tokenIn"] = SYMBOLS[seed % 4]
    fields["tokenOut"] = SYMBOLS[(seed + 1) % 4]
    for name in AMOUNTS:
        if name in fields and is_amount(fields[name]):
            fields[name] = "0.5" if isinstance(fields[name], str) else 2
    if is_amount(fields.get("amountIn")) and fields.get("amount") is not None and is_amount(fields["amount"]):
        del fields["amount"]
    return fields


@schemathesis.hook
def map_body(context, body):
    return known(body) if isinstance(body, dict) else body


@schemathesis.hook
def map_query(context, query):
    return known(query) if query else query
