//! The queue that the settings name.

use std::sync::Arc;

use super::state_folder;
use crate::config::Config;
use crate::model::failure::Failure;
use crate::queue::{self, Queue};

/// Opens the queue of the settings: `queue.url`, else a file in the user's state folder.
pub async fn open(config: &Config) -> Result<Arc<dyn Queue>, Failure> {
    let url = if config.queue.url.is_empty() {
        format!("sqlite:{}", state_folder(None, None).join("queue.db").display())
    } else {
        config.queue.url.clone()
    };
    queue::open(&url, config.queue.keep).await
}
