"""jupyterhub-idle-culler 2 stops no server on which something is kept: it asks the server itself.

Without this file it goes by the server's last activity alone, which our servers keep true as well. With it a server
stays until each kernel and terminal on it is due by its own rules, whatever the culler's timeout is:

    jupyterhub-idle-culler --timeout=3600 --config_file=/path/to/idle_culler_config.py

The culler's token needs `access:servers` besides what it needs anyway (list:users, read:users:activity, read:servers,
delete:servers); see `jupyterhub_config.py` beside this file.
"""

import json
import os

from tornado.httpclient import AsyncHTTPClient

c = get_config()  # noqa: F821

#: Where the hub's proxy is reached from here.
PROXY = os.environ.get("JUPYTERHUB_PROXY_URL", "http://127.0.0.1:8000")


async def status_of(server):
    """The state document of a server; an empty one of a server that does not have culling_manager."""
    url = f"{PROXY}{server['url']}sagemaker-studio-autoshutdown/status?no_track_activity=1"
    headers = {"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"}
    answer = await AsyncHTTPClient().fetch(url, headers=headers, raise_error=False)
    if answer.code == 404:
        return {"kernels": [], "terminals": []}
    answer.rethrow()  # nobody knows: it is not culled now, and asked again
    return json.loads(answer.body)


async def kept_by_nothing(inactive, inactive_limit, server):
    """Whether to stop a server that was inactive for so long."""
    status = await status_of(server)
    kept = [each["id"] for each in [*status["kernels"], *status["terminals"]] if each["decision"] == "keep"]
    return inactive.total_seconds() >= inactive_limit and not kept


c.IdleCuller.cull_arbiter_hook = kept_by_nothing
