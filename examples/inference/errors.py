"""What can go wrong between us and the model, grouped by who can act."""

# ruff: noqa: N818 - each name says what happened; the base class says that it is an error


class InferenceError(Exception):
    """Any failure to get an answer out of the model."""


class ConnectionFailed(InferenceError):
    """The endpoint was not reached, or the connection broke; trying again may help."""


class AnswerTimeout(InferenceError):
    """The endpoint took the request but gave no complete answer in time."""


class MalformedAnswer(InferenceError):
    """The endpoint answered something that is not HTTP, or not a chat completion."""


class StatusError(InferenceError):
    """The endpoint answered with an error status.

    Attributes:
        status: the HTTP status code.
        body: the beginning of the answer's body.
    """

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body}" if body else f"HTTP {status}")
        self.status = status
        self.body = body


class ModelUnavailable(StatusError):
    """The model is overloaded or broken (429 or 5xx); trying again may help."""


class RequestRejected(StatusError):
    """The endpoint refuses this request (other 4xx); the caller must change it."""
