//! Traces for OpenTelemetry: a span for each job, its fetch, its chunks and its publishing.
//!
//! By OTLP over HTTP with JSON, which every collector takes, and which needs nothing that is not here anyway.

pub mod export;
pub mod span;
