"""A line for a notebook whose environment lacks this package: it needs nothing but Python's standard library."""

from __future__ import annotations

#: What to paste. A kernel's command line names its connection file, which has its id, and beside which its server keeps
#: address and token. No proxy is shown the token; where there is none, the server asks for an XSRF cookie, and any will
#: do that stands in the header too.
LINE = (
    "import json,os,re,sys,urllib.request as u;"
    r"d,k=re.search(r'([^\s=]*)kernel-([\w-]+)\.json',' '.join(sys.argv)).groups();"
    "s=json.load(open(d+'jpserver-'+os.environ['JPY_PARENT_PID']+'.json'));"
    "print(u.build_opener(u.ProxyHandler({})).open(u.Request(s['url']+'sagemaker-studio-autoshutdown/keep-alive',"
    "json.dumps({'kind':'kernel','id':k,'duration':'4h'}).encode(),"
    "{'Content-Type':'application/json',**({'Authorization':'token '+s['token']} if s['token'] else "
    "{'Cookie':'_xsrf=00','X-XSRFToken':'00'})})).read().decode())"
)

HELP = f"""\
in a notebook whose environment lacks culling_manager, paste this; it keeps that notebook's kernel for four hours, and
needs Python's standard library alone, and a kernel that the server on this machine started:

{LINE}
"""
