"""How Kafka fails, told by what to do next, and which of aiokafka's errors is which.

    BrokerError
    ├── BrokerUnavailable   try again: the broker is away, slow, or has no leader for the partition
    └── BrokerRefused       do not: somebody must change a setting, a right or a topic first

Everything that aiokafka raises and the table below does not list is worth another try.
"""

from aiokafka import errors as kafka


class BrokerError(Exception):
    """Kafka did not do what it was asked. The message says what, where and what to do."""


class BrokerUnavailable(BrokerError):
    """Kafka cannot do it now. Retrying is right; what was sent may or may not be there."""


class BrokerRefused(BrokerError):
    """Kafka will not do it, however often it is asked."""


_CREDENTIALS = "check WHIPSTITCH_KAFKA_SECURITY_PROTOCOL, _MECHANISM, _USERNAME and _PASSWORD"
_RIGHTS = "grant the user of WHIPSTITCH_KAFKA_SECURITY_USERNAME the rights to it"
_TOPICS = "run `whipstitch topics create`"
_SIZE = "raise max.message.bytes of the topic: `whipstitch topics check` says to what"
_VERSION = "whipstitch needs Apache Kafka 2.1 or newer"
_CONFIGURATION = "change the setting, or the broker's own limits"

_REFUSALS: dict[type[kafka.KafkaError], str] = {
    kafka.AuthenticationFailedError: _CREDENTIALS,
    kafka.AuthenticationMethodNotSupported: _CREDENTIALS,
    kafka.SaslAuthenticationFailed: _CREDENTIALS,
    kafka.UnsupportedSaslMechanismError: _CREDENTIALS,
    kafka.IllegalSaslStateError: _CREDENTIALS,
    kafka.TopicAuthorizationFailedError: _RIGHTS,
    kafka.GroupAuthorizationFailedError: _RIGHTS,
    kafka.ClusterAuthorizationFailedError: _RIGHTS,
    kafka.UnknownTopicOrPartitionError: _TOPICS,
    kafka.InvalidTopicError: _TOPICS,
    kafka.MessageSizeTooLargeError: _SIZE,
    kafka.RecordListTooLargeError: _SIZE,
    kafka.RecordTooLargeError: _SIZE,
    kafka.IncompatibleBrokerVersion: _VERSION,
    kafka.UnrecognizedBrokerVersion: _VERSION,
    kafka.UnsupportedVersionError: _VERSION,
    kafka.InvalidPartitionsError: _CONFIGURATION,
    kafka.InvalidReplicationFactorError: _CONFIGURATION,
    kafka.InvalidConfigurationError: _CONFIGURATION,
    kafka.PolicyViolationError: _CONFIGURATION,
    kafka.InvalidTimestampError: "set this machine's clock: the record's time is too far from the broker's",
}


def broker_error(doing: str, error: kafka.KafkaError) -> BrokerError:
    """The error to raise for one of aiokafka's; `doing` says what was attempted and where, as "write to events.raw"."""
    advice = _REFUSALS.get(type(error))
    if advice is not None:
        return BrokerRefused(f"cannot {doing}: {error}; {advice}")
    return BrokerUnavailable(f"cannot {doing}: {error}; is Kafka up and within reach?")


def unknown_topic(topic: str) -> BrokerRefused:
    return BrokerRefused(f"Kafka has no topic {topic}; {_TOPICS}")
