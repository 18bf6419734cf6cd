"""The exceptions of Klankbord.

    KlankbordError
    ├── ConfigError            klankbord.toml or the environment is wrong: says where, and what to do
    ├── InvalidMention         one mention breaks a rule: field and reason
    ├── DependencyUnavailable  Kafka or ClickHouse does not answer (an outage: wait, don't drop)
    └── StackError             the local stack cannot start or go on

An error message is read by a person: it says what is wrong, where, and what to do about it.
"""


class KlankbordError(Exception):
    """Anything that Klankbord itself raises."""


class ConfigError(KlankbordError):
    """klankbord.toml or the environment is wrong."""


class InvalidMention(KlankbordError):
    """One mention breaks a rule.

    `field` is the dotted path of the field ("author.name"; empty when the whole is meant),
    `code` one of shared.events.RejectionCode, and the message is for a person.
    """

    def __init__(self, field: str, code: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.code = code
        self.reason = reason


class DependencyUnavailable(KlankbordError):
    """Kafka or ClickHouse does not answer. An outage is waited out; it is never a bad message."""

    def __init__(self, dependency: str, reason: str) -> None:
        super().__init__(f"{dependency} does not answer: {reason}")
        self.dependency = dependency
        self.reason = reason


class StackError(KlankbordError):
    """The local stack cannot start, or cannot go on."""
