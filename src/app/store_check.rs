//! What a store can do, found out by doing it to a small object.

use std::time::Duration;

use crate::config::Config;
use crate::model::failure::Failure;
use crate::scratch::file::Privacy;
use crate::storage::{About, Serving};

/// Somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

const SERVING: Serving = Serving { content_type: "video/mp2t", cache_control: "max-age=60" };

/// Writes, reads, lists and deletes an object at `to`; tells in one line what the store can do.
pub async fn examine(config: &Config, to: &str) -> Result<String, Failure> {
    let mut stores = config.stores.clone();
    stores.settings.rules.patience = PATIENCE;
    stores.settings.rules.tries = 3;
    let store = stores.open(to, Privacy::Public)?;
    let folder = format!("forebay-doctor-{}", std::process::id());
    let key = format!("{folder}/probe.ts");
    let about = About::from(SERVING);
    store.write(&key, vec![0x47; 188].into(), &about).await?;
    let looked = async {
        let problem = |what: &str| Failure::environment(format!("what was written at `{}` {what}", store.address("")));
        let (stat, bytes) = store.load_version(&key, 188).await?.ok_or_else(|| problem("is not there"))?;
        if bytes.len() != 188 {
            return Err(problem("comes back as something else"));
        }
        if store.list(&folder).await?.len() != 1 {
            return Err(problem("is not listed"));
        }
        Ok(stat)
    };
    let looked = looked.await;
    let deleted = store.delete(&key).await;
    let stat = looked?;
    deleted?;
    let conditions = store.conditions().await?;
    let keeps = stat.about.content_type == about.content_type && stat.about.cache_control == about.cache_control;
    let serving = if keeps { "keeps types and cache headers" } else { "keeps no types and cache headers" };
    let conditional = match (conditions.if_absent, conditions.if_same) {
        (true, true) => "writes on conditions",
        (true, false) => "writes only what is new, if asked",
        (false, true) => "replaces only one version, if asked",
        (false, false) => "has no conditional writes",
    };
    Ok(format!("{} writes, reads, lists and deletes; {serving}; {conditional}", store.address("")))
}
