//! Which address leads where, and who may go there.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{self, MethodRouter};

use super::problem::Problem;
use super::token::Scope;
use super::{
    Site, events, guard, jobs, keys, login, media, metrics, openapi, page, status, timeline, tus, uploads, webhooks,
};

/// Largest body of what is no upload.
const LONGEST_BODY: usize = 128 * 1024;

/// An address, its method, and the scope it takes; `None` is open to all, or checks by itself.
type Route = (&'static str, Method, Option<Scope>, fn() -> MethodRouter<Arc<Site>>);

/// Every route of the server.
pub(super) const ROUTES: &[Route] = &[
    ("/", Method::GET, None, || routing::get(page::index)),
    ("/assets/{name}", Method::GET, None, || routing::get(page::asset)),
    ("/healthz", Method::GET, None, || routing::get(status::healthz)),
    ("/readyz", Method::GET, None, || routing::get(status::readyz)),
    ("/metrics", Method::GET, Some(Scope::Read), || routing::get(metrics::metrics)),
    ("/media/{*path}", Method::GET, None, || routing::get(media::media)),
    ("/play/{grant}/{*path}", Method::GET, None, || routing::get(media::play)),
    ("/keys/{id}/{key}", Method::GET, None, || routing::get(keys::key)),
    ("/api/v1/openapi.json", Method::GET, None, || routing::get(openapi::document)),
    ("/api/v1/login", Method::POST, None, || routing::post(login::login)),
    ("/api/v1/logout", Method::POST, None, || routing::post(login::logout)),
    ("/api/v1/session", Method::GET, None, || routing::get(login::session)),
    ("/api/v1/jobs", Method::POST, Some(Scope::Submit), || routing::post(jobs::submit)),
    ("/api/v1/jobs", Method::GET, Some(Scope::Read), || routing::get(jobs::list)),
    ("/api/v1/jobs/{id}", Method::GET, Some(Scope::Read), || routing::get(jobs::show)),
    ("/api/v1/jobs/{id}/cancel", Method::POST, Some(Scope::Submit), || routing::post(jobs::cancel)),
    ("/api/v1/jobs/{id}/retry", Method::POST, Some(Scope::Submit), || routing::post(jobs::retry)),
    ("/api/v1/jobs/{id}/verify", Method::POST, Some(Scope::Submit), || routing::post(jobs::verify)),
    ("/api/v1/events", Method::GET, Some(Scope::Read), || routing::get(events::events)),
    ("/api/v1/timeline", Method::GET, Some(Scope::Read), || routing::get(timeline::timeline)),
    ("/api/v1/uploads", Method::OPTIONS, None, || routing::options(tus::options)),
    ("/api/v1/uploads", Method::POST, Some(Scope::Submit), || routing::post(uploads::post)),
    ("/api/v1/uploads/{id}", Method::PUT, Some(Scope::Submit), || routing::put(uploads::put)),
    ("/api/v1/uploads/{id}", Method::GET, Some(Scope::Submit), || routing::get(uploads::show)),
    ("/api/v1/uploads/{id}", Method::POST, Some(Scope::Submit), || routing::post(tus::instead)),
    ("/api/v1/uploads/{id}", Method::PATCH, Some(Scope::Submit), || routing::patch(tus::patch)),
    ("/api/v1/uploads/{id}", Method::DELETE, Some(Scope::Submit), || routing::delete(uploads::delete)),
    ("/api/v1/grants", Method::POST, Some(Scope::Submit), || routing::post(keys::allow)),
    ("/api/v1/webhooks", Method::POST, Some(Scope::Admin), || routing::post(webhooks::add)),
    ("/api/v1/webhooks", Method::GET, Some(Scope::Admin), || routing::get(webhooks::list)),
    ("/api/v1/webhooks/{id}", Method::DELETE, Some(Scope::Admin), || routing::delete(webhooks::remove)),
    ("/api/v1/webhooks/{id}/replay", Method::POST, Some(Scope::Admin), || routing::post(webhooks::replay)),
];

/// The whole of the server for one site.
pub(super) fn router(site: &Arc<Site>) -> Router {
    let mut router = Router::new();
    for (path, _, scope, handler) in ROUTES {
        let entry = guard::Entry { site: Arc::clone(site), scope: *scope };
        router = router.route(path, handler().layer(middleware::from_fn_with_state(entry, guard::admit)));
    }
    router
        .fallback(|| async { Problem::missing("page") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method")
        })
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(site), guard::guard))
        .with_state(Arc::clone(site))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_describes_every_route_of_the_api_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let open = operation["security"].as_array().is_some_and(Vec::is_empty);
                described.insert((method.to_uppercase(), path.clone(), open));
            }
        }
        let page = |path: &str| path == "/" || path.starts_with("/assets/");
        let routes: BTreeSet<_> = ROUTES
            .iter()
            .filter(|(path, ..)| !page(path))
            .map(|(path, method, scope, _)| (method.to_string(), path.replace("{*path}", "{path}"), scope.is_none()))
            // A `GET` answers a `HEAD` too, and tus is asked by one.
            .chain([("HEAD".to_owned(), "/api/v1/uploads/{id}".to_owned(), false)])
            .collect();
        let lacking: Vec<_> = routes.difference(&described).collect();
        let odd: Vec<_> = described.difference(&routes).collect();
        assert!(lacking.is_empty() && odd.is_empty(), "lacking {lacking:?}, odd {odd:?}");
    }
}
