"""The columns of the table in docs/clients.md."""

FEATURES = {
    "chat": "a reply to a conversation",
    "streaming": "its text in pieces",
    "structured output": "a reply by a JSON schema, as an object of the client",
    "tools required": "the model must call some tool; its result is sent back and answered with text",
    "tool by name": "the model must call this tool; its result is sent back and answered with text",
    "tools auto": "the model writes text, then calls a tool; its result is sent back and answered with text",
    "Responses": "`/v1/responses`: whole, streamed, and with tools",
    "Messages": "`/v1/messages`: whole, streamed, and with tools",
    "embeddings": "a vector for a text",
    "token counts": "the tokens of a prompt, counted by the server before or after the reply",
    "errors": "the client's own class for the status 400, 401, 404 and 429",
}
