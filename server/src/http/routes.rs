//! The route table: what is served, and what the API document says of it.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware;
use axum::routing::{MethodFilter, on};
use unseen_common::id::{DeviceId, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::privacy::{ObjectPage, Report};
use unseen_common::vault::ServerInfo;
use unseen_common::wire::body::{
    AccessBody, AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, CompactBody, EntryBody,
    LogBody, LoginBody, PackAnswer, PutSlotsBody, ReceiptBody, RecordBody, SlotsBody, TokenAnswer,
};
use unseen_common::wire::endpoint::{self, Endpoint, Method};
use unseen_common::wire::problem::{self, Kind};
use unseen_common::wire::schema::{number, text};
use unseen_common::wire::survey::{SurveyAnswer, SurveyBody, VerifyBody};
use utoipa::PartialSchema;

use super::api::Route;
use super::app::App;
use super::call::{self, Call, Reply};
use super::failure::Failure;
use super::rate::Budget;
use super::{handlers, request_log};
use crate::vault::Session;

/// All routes there are.
pub(super) fn table() -> Vec<Route> {
    let mut all = about_accounts();
    all.extend(about_logs());
    all.extend(about_packs());
    all.extend(about_snapshots());
    all.extend(about_privacy());
    all
}

fn about_accounts() -> Vec<Route> {
    vec![
        open(&endpoint::DESCRIBE, handlers::describe)
            .says("What this server is and what it records. Anyone.")
            .gives::<ServerInfo>("Version, identity, privacy statement"),
        open(&endpoint::OPENAPI, handlers::openapi)
            .says("This document. Anyone.")
            .gives_any("OpenAPI 3.1"),
        costly(&endpoint::CREATE_ACCOUNT, Budget::Account, handlers::create_account)
            .says("Makes an account. By invite.")
            .takes::<AccountBody>()
            .gives_nothing(201, "It is there")
            .fails(&[
                &problem::FORBIDDEN,
                &problem::NOT_FOUND,
                &problem::QUOTA,
                &problem::DISK_FULL,
            ]),
        costly(&endpoint::CHALLENGE, Budget::Login, handlers::challenge)
            .says("What to sign to log in. Anyone; unknown accounts get one too.")
            .takes::<ChallengeBody>()
            .gives::<ChallengeAnswer>("The challenge"),
        costly(&endpoint::SESSION, Budget::Login, handlers::session)
            .says("A signed challenge for a token. Anyone.")
            .takes::<LoginBody>()
            .gives::<TokenAnswer>("The token")
            .fails(&[&problem::UNAUTHORIZED, &problem::FORBIDDEN]),
        guarded(&endpoint::SLOTS, handlers::slots)
            .says("The unlock slots. Slots login, owner, device unless backup-only.")
            .gives::<SlotsBody>("The slots")
            .fails(&[&problem::NOT_FOUND]),
        guarded(&endpoint::PUT_SLOTS, handlers::put_slots)
            .says("Replaces the unlock slots. Owner.")
            .takes::<PutSlotsBody>()
            .gives::<RecordBody>("The record of the slots entry")
            .fails(GROWS),
    ]
}

/// What everything that extends the log may run into.
const GROWS: &[&Kind] =
    &[&problem::CONFLICT, &problem::QUOTA, &problem::DISK_FULL, &problem::SUSPENDED];

fn about_privacy() -> Vec<Route> {
    vec![
        guarded(&endpoint::PRIVACY, handlers::privacy)
            .says("Everything that is held about the account. Device, owner.")
            .gives::<Report>("Field by field, as the data inventory names them"),
        guarded(&endpoint::ACCESS, handlers::access)
            .says("What whoever runs the server did with the account. Device, owner.")
            .gives::<AccessBody>("Oldest first"),
        guarded(&endpoint::OBJECTS, handlers::objects)
            .says("The files that are kept for the account, by name. Owner.")
            .query("after", text("^[0-9a-z/-]{0,256}$", "Files after the one of this name"))
            .gives::<ObjectPage>("Names and lengths; for packs what is kept beside them"),
        costly(&endpoint::ERASED, Budget::Login, handlers::erased)
            .says("The receipt for an account that was erased. Anyone who knows its id.")
            .id::<VaultId>()
            .gives::<ReceiptBody>("The receipt")
            .fails(&[&problem::NOT_FOUND]),
    ]
}

fn about_logs() -> Vec<Route> {
    let after = || number(usize::MAX, "Records after this number; from the first without");
    vec![
        guarded(&endpoint::LOG, handlers::log)
            .says("Some of the log. Device, owner.")
            .query("after", after())
            .gives::<LogBody>("Records, oldest first"),
        guarded(&endpoint::APPEND, handlers::append)
            .says("Extends the log. Device, owner: each its own entries.")
            .takes::<EntryBody>()
            .gives::<RecordBody>("The record; the same if it was there already")
            .fails(GROWS),
    ]
}

fn about_packs() -> Vec<Route> {
    let footer = || number(0xffff_ffff, "Length of the sealed footer, without the trailer");
    vec![
        guarded(&endpoint::LIVE_PACKS, handlers::live_packs)
            .says("The packs that are there and whole. Device, owner.")
            .gives_octets(200, "A packset"),
        guarded(&endpoint::DAMAGED_PACKS, handlers::damaged_packs)
            .says("The packs that are there and damaged. Device, owner.")
            .gives_octets(200, "A packset"),
        looking(&endpoint::SURVEY, handlers::survey)
            .says(
                "Looks whether the files of packs are there, and marks those that are not. Device: \
                 its own; owner.",
            )
            .takes::<SurveyBody>()
            .gives::<SurveyAnswer>("Packs whose files are gone or of another length")
            .fails(&[&problem::DISK_FULL]),
        looking(&endpoint::VERIFY, handlers::verify)
            .says("Reads packs again, and marks those that are damaged. Owner.")
            .takes::<VerifyBody>()
            .gives_octets(200, "A packset: those that are not there whole")
            .fails(&[&problem::DISK_FULL]),
        guarded(&endpoint::PUT_PACK, handlers::put_pack)
            .says("Stores a pack under its id. Device; owner, of any device.")
            .id::<PackId>()
            .needs("footer", footer())
            .takes_octets()
            .gives::<PackAnswer>("Its number; the same if it was there already")
            .fails(&[&problem::QUOTA, &problem::DISK_FULL, &problem::SUSPENDED]),
        guarded(&endpoint::GET_PACK, handlers::get_pack)
            .says("Reads a pack by its number, or some of it. Owner.")
            .id::<PackNumber>()
            .header("Range", "^bytes=[0-9]{1,19}-[0-9]{1,19}$")
            .gives_pack()
            .fails(&[&problem::NOT_FOUND]),
        guarded(&endpoint::FOOTERS, handlers::footers)
            .says("Footers of packs, ascending by number. Device (itself and its lineage), owner.")
            .query("device", DeviceId::schema())
            .query("after", PackNumber::schema())
            .gives_octets(200, "A page of footers"),
    ]
}

fn about_snapshots() -> Vec<Route> {
    vec![
        guarded(&endpoint::COMMIT, handlers::commit)
            .says("Makes a snapshot, all or nothing. Device.")
            .takes::<CommitBody>()
            .gives::<RecordBody>("The record; the same if it was there already")
            .fails(GROWS)
            .fails(&[&problem::MISSING_PACKS, &problem::STALE_INDEX]),
        guarded(&endpoint::COMPACT, handlers::compact)
            .says("Puts other packs in the place of packs that are little used. Owner.")
            .takes::<CompactBody>()
            .gives::<RecordBody>("The record; the same if it was there already")
            .fails(GROWS)
            .fails(&[&problem::MISSING_PACKS, &problem::STALE_INDEX, &problem::NOT_FOUND]),
        guarded(&endpoint::MANIFEST_OF, handlers::manifest)
            .says("The sealed manifest of a snapshot. Owner.")
            .id::<SnapshotId>()
            .gives_octets(200, "The manifest")
            .fails(&[&problem::NOT_FOUND]),
        guarded(&endpoint::PACKS_OF, handlers::packs_of)
            .says("The packs that a snapshot needs. Owner, device for its lineage.")
            .id::<SnapshotId>()
            .gives_octets(200, "A packset")
            .fails(&[&problem::NOT_FOUND]),
    ]
}

pub(super) fn router(app: App, routes: Vec<Route>) -> Router {
    let routes = routes
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.endpoint.path, route.answers));
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        // Every call enforces the cap of its own endpoint.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), request_log::record))
        .with_state(app)
}

/// A route for anybody.
fn open<F, Fut>(endpoint: &'static Endpoint, handler: F) -> Route
where
    F: Fn(Call<()>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    costly(endpoint, Budget::Plain, handler)
}

/// The same with a budget of its own.
fn costly<F, Fut>(endpoint: &'static Endpoint, budget: Budget, handler: F) -> Route
where
    F: Fn(Call<()>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let answers = on(filter(endpoint.method), move |State(app): State<App>, request: Request| {
        call::open(app, (endpoint, budget), request, handler)
    });
    Route::new(endpoint, false, answers)
}

/// A route for who is logged in; what the principal may do is the core's to say.
fn guarded<F, Fut>(endpoint: &'static Endpoint, handler: F) -> Route
where
    F: Fn(Call<Session>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    counted(endpoint, Budget::Plain, handler)
}

/// The same for one that has the disk read much.
fn looking<F, Fut>(endpoint: &'static Endpoint, handler: F) -> Route
where
    F: Fn(Call<Session>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    counted(endpoint, Budget::Look, handler)
}

fn counted<F, Fut>(endpoint: &'static Endpoint, budget: Budget, handler: F) -> Route
where
    F: Fn(Call<Session>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let answers = on(filter(endpoint.method), move |State(app): State<App>, request: Request| {
        call::guarded(app, (endpoint, budget), request, handler)
    });
    Route::new(endpoint, true, answers)
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
    }
}

async fn no_such_route() -> Failure {
    Failure::of(&problem::NO_SUCH_ROUTE)
}

async fn wrong_method() -> Failure {
    Failure::of(&problem::WRONG_METHOD)
}
