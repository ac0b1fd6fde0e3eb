"""Real parts for every test: one Kafka and one embedded store, started once a run."""

pytest_plugins = ["tests.fixtures.kafka", "tests.fixtures.store", "tests.fixtures.system"]
