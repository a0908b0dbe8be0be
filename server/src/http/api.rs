//! The API document (`OpenAPI`), made from the route table: a route that is served is described,
//! and nothing else is.

use std::collections::BTreeMap;

use axum::routing::MethodRouter;
use bytes::Bytes;
use unseen_common::wire::endpoint::{Endpoint, Method, Takes};
use unseen_common::wire::problem::{self, Kind, Problem};
use unseen_common::wire::schema::number;
use unseen_common::wire::{JSON, OCTET_STREAM, PROBLEM_JSON};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, License, ObjectBuilder, OpenApi, OpenApiBuilder,
    PathsBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::app::App;

/// The name of the bearer token among the security schemes.
const TOKEN: &str = "token";

type Schemas = Vec<(String, RefOr<Schema>)>;

/// A route: where it is, who answers, and what is said of it.
pub(super) struct Route {
    pub(super) endpoint: &'static Endpoint,
    pub(super) answers: MethodRouter<App>,
    pub(super) guarded: bool,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<RefOr<Schema>>,
    good: Vec<(u16, Response)>,
    kinds: Vec<&'static Kind>,
    schemas: Schemas,
}

impl Route {
    pub(super) fn new(
        endpoint: &'static Endpoint,
        guarded: bool,
        answers: MethodRouter<App>,
    ) -> Self {
        Self {
            endpoint,
            answers,
            guarded,
            summary: "",
            parameters: Vec::new(),
            body: None,
            good: Vec::new(),
            kinds: Vec::new(),
            schemas: Vec::new(),
        }
    }

    /// What it is for, and for whom, in one line.
    pub(super) fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// The part of its path in braces.
    pub(super) fn id<T: PartialSchema>(mut self) -> Self {
        let name = self.endpoint.path.split(['{', '}']).nth(1).unwrap_or_default();
        self.parameters.push(parameter(name, ParameterIn::Path, Required::True, T::schema()));
        self
    }

    /// A name that its query may hold.
    pub(super) fn query(mut self, name: &str, schema: RefOr<Schema>) -> Self {
        self.parameters.push(parameter(name, ParameterIn::Query, Required::False, schema));
        self
    }

    /// A name that its query must hold.
    pub(super) fn needs(mut self, name: &str, schema: RefOr<Schema>) -> Self {
        self.parameters.push(parameter(name, ParameterIn::Query, Required::True, schema));
        self
    }

    /// A header that it looks at, of the form given.
    pub(super) fn header(mut self, name: &str, pattern: &str) -> Self {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        self.parameters.push(parameter(name, ParameterIn::Header, Required::False, schema.into()));
        self
    }

    /// The JSON that it takes.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(self.named::<T>());
        self
    }

    /// It takes bytes.
    pub(super) fn takes_octets(mut self) -> Self {
        self.body = Some(bytes());
        self
    }

    /// The JSON that it answers.
    pub(super) fn gives<T: ToSchema>(mut self, what: &str) -> Self {
        let schema = self.named::<T>();
        self.good.push((
            200,
            ResponseBuilder::new().description(what).content(JSON, content(schema)).build(),
        ));
        self
    }

    /// The bytes that it answers.
    pub(super) fn gives_octets(mut self, status: u16, what: &str) -> Self {
        self.good.push((status, octets(what).build()));
        self
    }

    /// A pack or some of it: with the length of all of it, and whether it is damaged.
    pub(super) fn gives_pack(mut self) -> Self {
        let most = usize::MAX;
        let length =
            HeaderBuilder::new().schema(Some(number(most, "Length of the whole pack"))).build();
        let damaged =
            HeaderBuilder::new().schema(Some(number(1, "The bytes cannot be right"))).build();
        for (status, what) in [(200, "The pack"), (206, "The part of it that was asked for")] {
            let response = octets(what)
                .header(unseen_common::wire::PACK_LENGTH_HEADER, length.clone())
                .header(unseen_common::wire::DAMAGED_HEADER, damaged.clone());
            self.good.push((status, response.build()));
        }
        self
    }

    /// It answers without a body.
    pub(super) fn gives_nothing(mut self, status: u16, what: &str) -> Self {
        self.good.push((status, ResponseBuilder::new().description(what).build()));
        self
    }

    /// It answers with JSON of no particular form.
    pub(super) fn gives_any(mut self, what: &str) -> Self {
        let any = content(ObjectBuilder::new().into());
        self.good.push((200, ResponseBuilder::new().description(what).content(JSON, any).build()));
        self
    }

    /// Problems that it may tell of, besides those that every route of its sort may.
    pub(super) fn fails(mut self, kinds: &[&'static Kind]) -> Self {
        self.kinds.extend(kinds);
        self
    }

    fn named<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name()).into()
    }

    /// All kinds of problems that this route may tell of.
    pub(super) fn problems(&self) -> Vec<&'static Kind> {
        let mut all = vec![&problem::TOO_MANY, &problem::SERVER, &problem::DAMAGED, &problem::BUSY];
        if self.guarded {
            all.extend([&problem::UNAUTHORIZED, &problem::FORBIDDEN]);
        }
        if self.body.is_some() {
            all.extend([
                &problem::CUT_OFF,
                &problem::TOO_SLOW,
                &problem::LENGTH_REQUIRED,
                &problem::TOO_LARGE,
                &problem::WRONG_TYPE,
            ]);
        }
        if self.body.is_some() || !self.parameters.is_empty() {
            all.push(&problem::INVALID);
        }
        all.extend(&self.kinds);
        all
    }

    fn operation(&self) -> Operation {
        let id = self.endpoint.path.trim_start_matches("/v1/").replace(['/', '{', '}'], "-");
        let id = format!("{}-{id}", self.endpoint.method.as_str().to_ascii_lowercase());
        let mut operation = OperationBuilder::new()
            .operation_id(Some(id.trim_end_matches('-').replace("--", "-")))
            .summary(Some(self.summary))
            .parameters((!self.parameters.is_empty()).then(|| self.parameters.clone()));
        operation = operation.security(if self.guarded {
            SecurityRequirement::new(TOKEN, [""; 0])
        } else {
            SecurityRequirement::default()
        });
        if let Some(schema) = &self.body {
            let kind = if self.endpoint.takes == Takes::Json { JSON } else { OCTET_STREAM };
            let body = RequestBodyBuilder::new()
                .content(kind, content(schema.clone()))
                .description(Some(format!("At most {} bytes", self.endpoint.body_cap)))
                .required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        for (status, response) in &self.good {
            operation = operation.response(status.to_string(), response.clone());
        }
        let mut by_status = BTreeMap::<u16, Vec<&str>>::new();
        for kind in self.problems() {
            by_status.entry(kind.status).or_default().push(kind.code);
        }
        for (status, codes) in by_status {
            operation = operation.response(status.to_string(), refusal(status, &codes));
        }
        operation.build()
    }
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    schema: RefOr<Schema>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(schema))
        .build()
}

/// Any bytes: in `OpenAPI` 3.1 a body of which the schema says nothing.
fn bytes() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

fn content(schema: RefOr<Schema>) -> Content {
    Content::new(Some(schema))
}

fn octets(what: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(what).content(OCTET_STREAM, content(bytes()))
}

fn refusal(status: u16, codes: &[&str]) -> Response {
    let problem = content(Ref::from_schema_name(Problem::name()).into());
    let response =
        ResponseBuilder::new().description(codes.join(", ")).content(PROBLEM_JSON, problem);
    if status == problem::TOO_MANY.status || status == problem::BUSY.status {
        let seconds = number(u32::MAX as usize, "Seconds to wait");
        return response
            .header("Retry-After", HeaderBuilder::new().schema(Some(seconds)).build())
            .build();
    }
    response.build()
}

/// The document of these routes, as it is served.
pub(super) fn document(routes: &[Route]) -> Bytes {
    let text = describe(routes).to_pretty_json().unwrap_or_default();
    // The descriptions are those of the code; links into it say nothing here.
    let mut text = text.replace("[`", "`").replace("`]", "`").replace("super::endpoint::", "");
    text.push('\n');
    text.into()
}

fn describe(routes: &[Route]) -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut schemas: Schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    for route in routes {
        let method = match route.endpoint.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
        };
        let item = utoipa::openapi::PathItem::new(method, route.operation());
        paths = paths.path(route.endpoint.path, item);
        schemas.extend(route.schemas.iter().cloned());
    }
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(TOKEN, SecurityScheme::Http(token))
        .build();
    let info = InfoBuilder::new()
        .title("Unseen backup-server")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("What the words mean and what an answer promises: docs/PROTOCOL.md."))
        .license(Some(License::new(env!("CARGO_PKG_LICENSE"))))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}
