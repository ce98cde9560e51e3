from fake_ntfy import FakeNtfy
from nanoclaw_channel_ntfy import host


def test_published_message_is_answered(nanoclaw_instance, nanoclaw_host):
    with FakeNtfy() as server:
        nanoclaw_instance.wire(channel="ntfy", room="kitchen")
        nanoclaw_instance.configure("ntfy", topic="kitchen", server=server.url, poll_s=0.1)
        with nanoclaw_host(ntfy=host):
            server.say("kitchen", "hello")
            assert server.answers(1)[0]["message"] == "echo: hello"
