"""What the environment may say, and the sentence for what it may not."""

from __future__ import annotations

import pytest

from tasklock_operator.settings import PREFIX, VARIABLES, Listen, Settings, SettingsError


def read(**variables: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in variables.items()})


def test_nothing_said_is_the_whole_cluster_on_port_8080() -> None:
    assert read() == Settings()
    assert (read().namespaces, read().pods, str(read().listen)) == ((), True, "0.0.0.0:8080")


def test_everything_said() -> None:
    assert read(
        NAMESPACES=" a, b,a ,",
        PODS="False",
        POD_SELECTOR="app in (worker, web)",
        EVENTS="0",
        LISTEN="[::]:9000",
        PROXY_LISTEN="127.0.0.1:9001",
        PROXY_USER_HEADER="X-Auth-User",
        LOG_LEVEL="DEBUG",
        LOG_FORMAT="json",
        LOCK_METRICS="yes",
    ) == Settings(
        namespaces=("a", "b"),
        pods=False,
        pod_selector="app in (worker, web)",
        events=False,
        listen=Listen("::", 9000),
        proxy_listen=Listen("127.0.0.1", 9001),
        proxy_user_header="X-Auth-User",
        log_level="debug",
        log_format="json",
        lock_metrics=True,
    )
    assert str(Listen("::", 9000)) == "[::]:9000"


def test_an_empty_variable_is_a_missing_one() -> None:
    assert read(**{name: " " for name, _, _ in VARIABLES}) == Settings()


def test_what_a_cluster_puts_there_for_a_service_of_that_name_is_ignored() -> None:
    assert read(PORT="tcp://10.0.0.1:8080", SERVICE_HOST="10.0.0.1") == Settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NAMESPACES", "*", "leave it empty for the whole cluster"),
        ("NAMESPACES", "Not_A_Namespace", "DNS label"),
        ("PODS", "maybe", "true or false"),
        ("POD_SELECTOR", "a\nb", "as kubectl takes it"),
        ("LISTEN", "8080", "for example"),
        ("LISTEN", "host:x", "for example"),
        ("LISTEN", "0.0.0.0:70000", "for example"),
        ("LISTEN", "no such host:80", "for example"),
        ("PROXY_LISTEN", "0.0.0.0:8081", "loopback"),
        ("PROXY_LISTEN", "10.0.0.1:8081", "loopback"),
        ("PROXY_USER_HEADER", "X User", "HTTP header"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "plain, json"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_that_names_the_variable(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"TASKLOCK_OPERATOR_{name} is ")
    assert words in text
    assert text.isprintable()


def test_each_variable_is_documented() -> None:
    asked: list[str] = []

    class Env(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            asked.append(name)
            return default

    Settings.from_env(Env())
    assert asked == [PREFIX + name for name, _, _ in VARIABLES]
