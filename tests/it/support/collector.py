"""A collector of OpenTelemetry: takes OTLP over HTTP as JSON, reads it by the protocol's own definition, and writes
one span a line. Prints its port.

usage: collector.py FILE
"""

import base64
import http.server
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


def bytes_of_hex(value):
    """OTLP writes ids as hex digits, where JSON of Protocol Buffers has base64."""
    if isinstance(value, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        return {name: base64.b64encode(bytes.fromhex(inner)).decode() if name in ids else bytes_of_hex(inner)
                for name, inner in value.items()}
    return [bytes_of_hex(inner) for inner in value] if isinstance(value, list) else value


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/json":
            return self.send_error(404)
        # What is no such message raises here, and the test finds no span.
        request = json_format.Parse(json.dumps(bytes_of_hex(json.loads(body))), ExportTraceServiceRequest())
        with open(sys.argv[1], "a", encoding="utf-8") as file:
            for resource in request.resource_spans:
                service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    file.write(json.dumps({
                        "service": service, "name": span.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "begun": span.start_time_unix_nano,
                        "ended": span.end_time_unix_nano, "status": span.status.code,
                        "why": span.status.message, "attributes": [pair.key for pair in span.attributes],
                    }) + "\n")
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
