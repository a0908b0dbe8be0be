//! The route table.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{MethodFilter, on};
use unseen_common::wire::endpoint::{self, Endpoint, Method};

use super::app::App;
use super::failure::Failure;
use super::{handlers, request_log};

pub(super) fn router(app: App) -> Router {
    let router = at(Router::new(), &endpoint::DESCRIBE, handlers::describe);
    let router = at(router, &endpoint::CREATE_ACCOUNT, handlers::create_account);
    let router = at(router, &endpoint::CHALLENGE, handlers::challenge);
    let router = at(router, &endpoint::SESSION, handlers::session);
    let router = at(router, &endpoint::SLOTS, handlers::slots);
    let router = at(router, &endpoint::PUT_SLOTS, handlers::put_slots);
    let router = at(router, &endpoint::LOG, handlers::log);
    let router = at(router, &endpoint::APPEND, handlers::append);
    let router = at(router, &endpoint::LIVE_PACKS, handlers::live_packs);
    let router = at(router, &endpoint::PUT_PACK, handlers::put_pack);
    let router = at(router, &endpoint::GET_PACK, handlers::get_pack);
    let router = at(router, &endpoint::FOOTERS, handlers::footers);
    let router = at(router, &endpoint::COMMIT, handlers::commit);
    let router = at(router, &endpoint::COMPACT, handlers::compact);
    let router = at(router, &endpoint::MANIFEST_OF, handlers::manifest);
    let router = at(router, &endpoint::PRIVACY, handlers::privacy);
    let router = at(router, &endpoint::ACCESS, handlers::access);
    let router = at(router, &endpoint::ERASED, handlers::erased);
    at(router, &endpoint::PACKS_OF, handlers::packs_of)
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        // Every handler takes the raw body and enforces the cap of its own endpoint.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(request_log::record))
        .with_state(app)
}

fn at<H: Handler<T, App>, T: 'static>(
    router: Router<App>,
    endpoint: &Endpoint,
    handler: H,
) -> Router<App> {
    let method = match endpoint.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
    };
    router.route(endpoint.path, on(method, handler))
}

async fn no_such_route() -> Failure {
    Failure::transport(StatusCode::NOT_FOUND, "no-such-route", "no such route")
}

async fn wrong_method() -> Failure {
    Failure::transport(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong-method",
        "this route is asked in another way",
    )
}
