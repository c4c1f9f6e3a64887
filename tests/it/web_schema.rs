//! The API against its own description, by a program that thinks of what nobody would send.

use crate::support::sandbox::Sandbox;
use crate::support::site::Site;
use crate::support::stores::tool_home;

/// What must hold of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[test]
fn every_answer_is_one_that_the_description_knows() {
    let site = Site::start_with(Sandbox::new(), &["--no-worker"], &[("FOREBAY_SERVE__RATE", "100000")]);
    let token = site.add_token("ann", "admin");
    let program = tool_home().with_file_name("schemathesis").join("bin/st");
    // The stream of events never ends.
    let more = ["--phases", "coverage", "--exclude-path-regex", "/events$", "--request-timeout", "10", "--no-color"];
    for bearer in [Some(format!("Authorization: Bearer {token}")), None] {
        let mut command = site.sandbox.command(&program);
        command.args(["run", &site.url("/api/v1/openapi.json"), "--url", &site.url(""), "-c", CHECKS]).args(more);
        command.args(bearer.iter().flat_map(|bearer| ["-H", bearer.as_str()]));
        let output = command.output().expect("scripts/setup.sh --test installs schemathesis");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("Tested: 29"), "{said}");
    }
    site.ask("GET", "/readyz", b"").expect(200);
}
