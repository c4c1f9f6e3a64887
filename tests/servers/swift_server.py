#!/usr/bin/python3
"""A whole OpenStack Swift in one process, for tests: proxy, account, container
and object server of the distribution's packages, with S3's tongue as well.

usage: swift_server.py FOLDER [KEYSTONE-URL]
Prints the port of the proxy when it answers; ends when its standard input does.
Without Keystone the user is `test:tester` with the key `testing`; FAULT_TOKEN_LIFE
is the life of a token in seconds, FAULT_LARGEST most bytes of an object that comes
whole, which are 5 GiB otherwise, and FAULT_PORT the port if it has to be a certain one.
"""
import eventlet
import eventlet.tpool

eventlet.monkey_patch()

import logging
import os
import sys

import swift.common.utils as utils

folder = os.path.abspath(sys.argv[1])
keystone = sys.argv[2] if len(sys.argv) > 2 else None
# Swift looks for this one file in /etc and nowhere else.
utils.SWIFT_CONF_FILE = os.path.join(folder, "swift.conf")
for name in ("devices/d1", "cache"):
    os.makedirs(os.path.join(folder, name), exist_ok=True)


def write(name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


write("swift.conf", f"""[swift-hash]
swift_hash_path_prefix = forebay
swift_hash_path_suffix = tests
[swift-constraints]
max_file_size = {os.environ.get("FAULT_LARGEST", 5 << 30)}
[storage-policy:0]
name = Policy-0
default = yes
""")

import swift.common.storage_policy as storage_policy
from swift.common.ring import RingBuilder
from swift.common.wsgi import loadapp
from eventlet import wsgi

wanted = {"proxy": int(os.environ.get("FAULT_PORT", 0))}
sockets = {kind: eventlet.listen(("127.0.0.1", wanted.get(kind, 0)), backlog=512)
           for kind in ("proxy", "account", "container", "object")}
ports = {kind: socket.getsockname()[1] for kind, socket in sockets.items()}

for kind in ("account", "container", "object"):
    builder = RingBuilder(2, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": ports[kind], "device": "d1", "weight": 1,
                     "replication_ip": "127.0.0.1", "replication_port": ports[kind]})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, kind + ".ring.gz"))
    write(kind + "-server.conf", f"""[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
bind_port = {ports[kind]}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
recon_cache_path = {folder}/cache
""")

if keystone:
    auth = "authtoken s3api s3token keystoneauth"
    service = f"""auth_url = {keystone}
auth_type = password
username = swift
password = swiftpass
project_name = service
user_domain_id = default
project_domain_id = default
"""
    filters = f"""[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {keystone}
delay_auth_decision = true
cache = swift.cache
token_cache_time = 300
{service}[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:s3token]
use = egg:swift#s3token
reseller_prefix = AUTH_
auth_uri = {keystone}
auth_version = 3
delay_auth_decision = true
{service}"""
else:
    auth = "s3api tempauth"
    filters = f"""[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_other_reader = reading
token_life = {os.environ.get("FAULT_TOKEN_LIFE", "86400")}
"""
plain = ("catch_errors", "healthcheck", "bulk", "copy", "slo", "dlo", "listing_formats")
write("proxy-server.conf", f"""[DEFAULT]
swift_dir = {folder}
cors_allow_origin = *
[pipeline:main]
pipeline = catch_errors healthcheck listing_formats bulk {auth} copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 1
error_suppression_limit = 1000
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
check_bucket_owner = false
dns_compliant_bucket_names = true
{filters}""" + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in plain))


class Cache:
    """What memcached would hold, for one process."""

    def __init__(self):
        self.held = {}

    def get(self, key, raise_on_error=False):
        value, until = self.held.get(key, (None, None))
        if until and until < utils.time.time():
            return None
        return value

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.held[key] = (value, utils.time.time() + time if time else None)

    def delete(self, key, server_key=None):
        self.held.pop(key, None)

    def incr(self, key, delta=1, time=0):
        value = int(self.get(key) or 0) + int(delta)
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0):
        return self.incr(key, -int(delta), time)


cache = Cache()
logging.disable(logging.CRITICAL)


def with_cache(app):
    def answer(environ, start_response):
        environ["swift.cache"] = cache
        return app(environ, start_response)
    return answer


class Protocol(wsgi.HttpProtocol):
    def log_message(self, *args):
        pass


def serve(kind):
    app = loadapp(os.path.join(folder, kind + "-server.conf"), global_conf={"log_name": kind})
    if kind == "proxy":
        app = with_cache(app)
    eventlet.spawn(wsgi.server, sockets[kind], app, log=logging.getLogger("null"), log_output=False,
                   protocol=Protocol, custom_pool=eventlet.GreenPool(256), debug=False)


for kind in ("account", "container", "object", "proxy"):
    serve(kind)
print(ports["proxy"], flush=True)
# Whoever started this has gone when the pipe closes.
eventlet.tpool.execute(sys.stdin.buffer.read)
os._exit(0)
