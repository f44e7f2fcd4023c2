//! A path with its methods: served, counted under its own name, and comparable with what the documents say is served.

use std::time::Instant;

use actix_web::dev::{AppService, HttpServiceFactory, Service, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{FromRequest, Handler, HttpRequest, Responder, ResponseError, Route, web};

use crate::http::AppState;
use crate::http::extract::{body, caller};
use crate::http::middleware::guard::RequestGuard;
use crate::http::problem::{self, Problem};

/// What is served at one path.
pub(super) struct Endpoint {
    path: &'static str,
    methods: Vec<Method>,
    routes: Vec<Route>,
    /// `HEAD`, which is answered as `GET` is, without the body.
    head: Option<Route>,
    operators: bool,
    takes_query: bool,
    takes_anybody: bool,
}

/// Nothing yet at that path.
pub(super) fn at(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        methods: Vec::new(),
        routes: Vec::new(),
        head: None,
        operators: false,
        takes_query: false,
        takes_anybody: false,
    }
}

impl Endpoint {
    /// `GET`, and `HEAD`, of whose answer the server leaves out the body.
    pub(super) fn get<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.head = Some(web::head().to(handler.clone()));
        self.takes(Method::GET, web::get().to(handler))
    }

    /// It is a WebSocket, which is opened by `GET` alone.
    pub(super) fn without_head(mut self) -> Self {
        self.head = None;
        self
    }

    pub(super) fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.takes(Method::POST, web::post().to(handler))
    }

    pub(super) fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.takes(Method::DELETE, web::delete().to(handler))
    }

    fn takes(mut self, method: Method, route: Route) -> Self {
        self.methods.push(method);
        self.routes.push(route);
        self
    }

    /// It is the operator's: where the operator has an address of its own it is served there, and nowhere else.
    pub(super) fn for_operators(mut self) -> Self {
        self.operators = true;
        self
    }

    /// It takes parameters in the query, and judges them itself.
    pub(super) fn with_query(mut self) -> Self {
        self.takes_query = true;
        self
    }

    /// It is for whoever asks: nobody has to say who they are.
    pub(super) fn for_anybody(mut self) -> Self {
        self.takes_anybody = true;
        self
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    #[cfg(test)]
    pub(super) fn methods(&self) -> &[Method] {
        &self.methods
    }
}

impl HttpServiceFactory for Endpoint {
    fn register(self, config: &mut AppService) {
        let Self { path, mut methods, mut routes, head, operators, takes_query, takes_anybody } = self;
        if let Some(head) = head {
            methods.push(Method::HEAD);
            routes.push(head);
        }
        // Probes, pages and metrics may be asked with anything: it changes nothing there.
        let is_strict = !takes_query && (path.starts_with("/api") || path.starts_with("/ws"));
        let without_query = if is_strict { methods.clone() } else { Vec::new() };
        let rules = Rules { operators, takes_anybody, without_query };
        let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let allowed = HeaderValue::try_from(methods).expect("methods are words");
        let wrong_method = move |request: HttpRequest| {
            let mut response = problem::wrong_method(&request).error_response();
            response.headers_mut().insert(ALLOW, allowed.clone());
            async move { response }
        };
        let resource = routes.into_iter().fold(web::resource(path), |resource, route| resource.route(route));
        let counted = resource.default_service(web::to(wrong_method)).wrap_fn(move |request, route| {
            let metrics = request.app_data::<web::Data<AppState>>().map(|app| app.metrics.clone());
            let (begun, method) = (Instant::now(), method_name(request.method()));
            let answer = match rules.judge(&request) {
                Ok(()) => Ok(route.call(request)),
                Err(problem) => Err(request.into_response(problem.error_response())),
            };
            async move {
                let answer = match answer {
                    Ok(answer) => answer.await?,
                    Err(refused) => refused,
                };
                if let Some(metrics) = metrics {
                    metrics.answered(path, method, answer.status().as_u16(), begun.elapsed());
                }
                Ok(answer)
            }
        });
        counted.register(config);
    }
}

/// What a route asks of every request that it matches. That is judged here and not by a request's path: a path has many
/// spellings, of which the route has matched one.
#[derive(Clone)]
struct Rules {
    operators: bool,
    takes_anybody: bool,
    // The methods that take nothing in the query.
    without_query: Vec<Method>,
}

impl Rules {
    fn judge(&self, request: &ServiceRequest) -> Result<(), Problem> {
        let guard = request.app_data::<web::Data<RequestGuard>>().expect("every app has its guard");
        if !guard.serves(self.operators, request.app_config().local_addr()) {
            return Err(problem::nothing_at(request.request()));
        }
        let query = request.query_string();
        if query.is_empty() || !self.without_query.contains(request.method()) {
            return Ok(());
        }
        // Whoever may not ask at all is told that first.
        match self.takes_anybody {
            true => caller::no_credential_in(query)?,
            false => drop(caller::of(request.request())?),
        }
        body::refuse_query(query)
    }
}

/// A method's name; one for all that no route takes, for a client may make up as many as it likes.
fn method_name(method: &Method) -> &'static str {
    [("GET", Method::GET), ("HEAD", Method::HEAD), ("POST", Method::POST), ("DELETE", Method::DELETE)]
        .into_iter()
        .find(|(_, known)| known == method)
        .map_or("other", |(name, _)| name)
}
