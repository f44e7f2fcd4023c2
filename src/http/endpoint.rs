//! A path with its operations: routes requests by method, applies the rules of the operation, and counts the answers.

use std::time::Instant;

use actix_web::dev::{AppService, HttpServiceFactory, Service, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, ResponseError, Route, web};

use crate::http::AppState;
use crate::http::extract::caller;
use crate::http::extract::fields::FieldReader;
use crate::http::middleware::guard::RequestGuard;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{self, Problem};

/// The operations at one path.
pub(super) struct Endpoint {
    path: &'static str,
    operations: Vec<Operation>,
}

/// Groups operations by path.
///
/// The server compares a request with the paths in this order. Paths without a parameter come first: they cost a string
/// comparison instead of a regular expression, and `/api/orders/history` must not match `/api/orders/{id}`.
pub(super) fn endpoints(operations: Vec<Operation>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for operation in operations {
        match endpoints.iter_mut().find(|endpoint| endpoint.path == operation.path) {
            Some(endpoint) => endpoint.operations.push(operation),
            None => endpoints.push(Endpoint { path: operation.path, operations: vec![operation] }),
        }
    }
    endpoints.sort_by_key(|endpoint| endpoint.path.contains('{'));
    endpoints
}

impl HttpServiceFactory for Endpoint {
    fn register(self, config: &mut AppService) {
        let rules = Rules::of(&self.operations);
        let path = self.path;
        let methods = self.operations.iter().map(|operation| operation.method.clone());
        let head = self.operations.iter().filter(|operation| operation.head.is_some()).map(|_| Method::HEAD);
        let methods: Vec<_> = methods.chain(head).map(|method| method.to_string()).collect();
        let allowed = HeaderValue::try_from(methods.join(", ")).expect("method names are valid in a header");
        let wrong_method = move |request: HttpRequest| {
            let mut response = problem::wrong_method(&request).error_response();
            response.headers_mut().insert(ALLOW, allowed.clone());
            async move { response }
        };
        let resource =
            self.operations.into_iter().flat_map(routes).fold(web::resource(path), |all, one| all.route(one));
        let counted = resource.default_service(web::to(wrong_method)).wrap_fn(move |request, route| {
            let metrics = request.app_data::<web::Data<AppState>>().map(|app| app.metrics.clone());
            let (begun, method, revalidated) = (Instant::now(), method_name(request.method()), rules.revalidated);
            let answer = match rules.check(&request) {
                Ok(()) => Ok(route.call(request)),
                Err(problem) => Err(request.into_response(problem.error_response())),
            };
            async move {
                let mut answer = match answer {
                    Ok(answer) => answer.await?,
                    Err(refused) => refused,
                };
                if revalidated && answer.status().is_success() {
                    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                }
                if let Some(metrics) = metrics {
                    metrics.answered(path, method, answer.status().as_u16(), begun.elapsed());
                }
                Ok(answer)
            }
        });
        counted.register(config);
    }
}

fn routes(operation: Operation) -> impl Iterator<Item = Route> {
    [Some(operation.route), operation.head].into_iter().flatten()
}

/// The rules of a path. They are checked after routing, because one path can be spelled in many ways and only the
/// router knows which spellings match.
#[derive(Clone)]
struct Rules {
    operator: bool,
    revalidated: bool,
    // The methods that refuse any query, and whether everyone may call them.
    without_query: Vec<(Method, bool)>,
}

impl Rules {
    fn of(operations: &[Operation]) -> Self {
        let strict = operations.iter().filter(|operation| operation.refuses_any_query());
        let without_query = strict.flat_map(|operation| {
            let is_public = operation.access == Access::Public;
            let head = operation.head.as_ref().map(|_| (Method::HEAD, is_public));
            [Some((operation.method.clone(), is_public)), head].into_iter().flatten()
        });
        Self {
            operator: operations.iter().any(|operation| operation.access == Access::Operator),
            revalidated: operations.iter().any(|operation| operation.revalidated),
            without_query: without_query.collect(),
        }
    }

    fn check(&self, request: &ServiceRequest) -> Result<(), Problem> {
        let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has a guard");
        if !guard.serves(self.operator, request.app_config().local_addr()) {
            return Err(problem::nothing_at(request.request()));
        }
        let query = request.query_string();
        let strict = self.without_query.iter().find(|(method, _)| method == request.method());
        let Some((_, is_public)) = strict.filter(|_| !query.is_empty()) else { return Ok(()) };
        // A missing credential is reported before a wrong parameter.
        match is_public {
            true => caller::refuse_credential_in(query)?,
            false => drop(caller::authenticate(request.request())?),
        }
        FieldReader::of_query(query)?.refuse_all()
    }
}

/// The method as a metric label. Unknown methods share one label, because a client can make up any number of them.
fn method_name(method: &Method) -> &'static str {
    [("GET", Method::GET), ("HEAD", Method::HEAD), ("POST", Method::POST), ("DELETE", Method::DELETE)]
        .into_iter()
        .find(|(_, known)| known == method)
        .map_or("other", |(name, _)| name)
}
