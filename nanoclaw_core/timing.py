"""The times of a host that tests and embedding applications may set."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Timing:
    """Times of a host in seconds. A stop takes at most 10 s in all, so the times of its steps are short."""

    # Start of a host.
    reap_timeout_s: float = 15.0  # an engine that does not answer keeps only its own sandboxes from starting
    reap_notice_s: float = 1.0  # it usually takes milliseconds; after this time the log gives the reason for the wait
    # Stop of a host.
    sandboxes_close_s: float = 4.5  # for all sandboxes together; the next host reaps the rest
    actions_close_s: float = 1.0  # for running actions, which are then cancelled
    drain_s: float = 2.0  # for queued messages; the next host sends the rest
    plugin_close_s: float = 1.0  # for each channel, service and runtime
    cancel_s: float = 0.5  # a cancelled task ends at once; one that swallows its cancellation must not keep the host
    # Sandboxes.
    runtime_check_s: float = 10.0  # an engine that does not answer must not block the other runtimes
    stop_grace_s: float = 3.0  # a runner needs at most 2.4 s to settle its rows
    endpoint_close_s: float = 1.0  # the last messages of a sandbox wait for its gateway endpoint
    fallback_poll_s: float = 1.0  # between polls until a runner connects; some machines cannot share the doorbell
    slot_notice_s: float = 10.0  # an idle sandbox frees its slot within a few seconds, which needs no notice
    life_grace_s: float = 900.0  # after the longest life, for a turn to end by itself
    timer_limit_s: float = 120.0  # a message due within this time gets a timer; the sweep finds later ones
    # A run that ends on a full disk is a failed try only of messages older than this. Without a limit, an agent that
    # fills the disk itself would be started again for ever.
    no_room_wait_s: float = 86_400.0
    max_silence_s: float = 1_800.0  # a busy runner without a heartbeat for this time is stuck
    claim_tolerance_s: float = 60.0  # four polls of a runner
    sweep_s: float = 60.0  # the sweep only finds missed events
    requarantine_s: float = 3_600.0  # a conversation that is damaged again gets a new sandbox only after this time
    # Delivery.
    send_timeout_s: float = 120.0  # for one attempt; large files take minutes
    status_timeout_s: float = 10.0  # a status is only a hint, so one that hangs in a platform is dropped
    delay_notice_s: float = 60.0  # people notice a longer delay
    typing_refresh_s: float = 4.0  # platforms show the indicator for about 5 s
    typing_grace_s: float = 15.0  # a sandbox needs some seconds until its first heartbeat
    typing_alive_s: float = 6.0  # a working runner has a heartbeat every 5 s
    typing_pause_s: float = 10.0  # after a message, which people read first
    empty_poll_pause_s: float = 0.25  # between polls of a sandbox that rings without writing
    # Files and databases.
    inbox_lock_timeout_s: float = 5.0  # a sandbox may lock the file that it reads
    busy_retry_s: float = 0.05  # a runner's commit takes 1 to 2 ms
    store_retry_s: float = 5.0  # a full disk rarely gets room sooner
    request_idle_s: float = 300.0  # a client of the control socket without a request is disconnected
