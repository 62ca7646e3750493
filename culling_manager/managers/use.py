"""Which requests are use of a kernel: what a person did counts, not what a page does by itself."""

from __future__ import annotations

#: What is no use of a kernel: requests that a page sends by itself, and what comes of them and of others. Those of
#: jupyter_server 2.15's `untracked_message_types`, for versions before it.
UNTRACKED = frozenset(
    [
        "kernel_info_request",
        "kernel_info_reply",
        "comm_info_request",
        "comm_info_reply",
        "shutdown_request",
        "shutdown_reply",
        "interrupt_request",
        "interrupt_reply",
        "debug_request",
        "debug_reply",
        "debug_event",
        "stream",
        "display_data",
        "update_display_data",
        "execute_input",
        "execute_result",
        "error",
        "status",
        "clear_output",
        "input_request",
        "input_reply",
    ]
)
#: The same of later protocols and of extensions: what a page asks on the control channel, at intervals or once.
POLLS = frozenset(
    [
        "usage_request",
        "usage_reply",
        "create_subshell_request",
        "create_subshell_reply",
        "delete_subshell_request",
        "delete_subshell_reply",
        "list_subshell_request",
        "list_subshell_reply",
    ]
)
#: The only request on the control channel that is use of a kernel.
EXECUTE = "execute_request"
