//! A producer and a consumer that each wait now and then, and never for each
//! other longer than they must.
//!
//! `cargo run --example producer_consumer`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use forebay::pipeline::Pipeline;
use forebay::pipeline::error::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let report = Pipeline::from_iter(1..=10)
        .io("produce", 1, async |x| {
            println!("producing {x}/10");
            simulate_io().await?;
            Ok(x.to_string())
        })
        .io("consume", 1, async |item| {
            println!("consuming item {item}...");
            simulate_io().await
        })
        .run()
        .await;
    println!("{}", report.summary);
}

/// Waits up to one second.
async fn simulate_io() -> Result {
    let milliseconds = getrandom::u32().unwrap_or_default() % 1000;
    tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
    Ok(())
}
