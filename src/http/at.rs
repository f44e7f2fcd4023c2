//! A path with its methods: served, counted under its own name, and comparable with what the documents say is served.

use std::time::Instant;

use actix_web::dev::{AppService, HttpServiceFactory, Service};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{FromRequest, Handler, HttpRequest, Responder, ResponseError, Route, web};

use super::Face;
use super::problem;

/// What is served at one path.
pub(super) struct At {
    path: &'static str,
    methods: Vec<Method>,
    routes: Vec<Route>,
}

/// Nothing yet at that path.
pub(super) fn at(path: &'static str) -> At {
    At { path, methods: Vec::new(), routes: Vec::new() }
}

impl At {
    pub(super) fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.takes(Method::GET, web::get().to(handler))
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

    #[cfg(test)]
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    #[cfg(test)]
    pub(super) fn methods(&self) -> &[Method] {
        &self.methods
    }
}

impl HttpServiceFactory for At {
    fn register(self, config: &mut AppService) {
        let Self { path, methods, routes } = self;
        let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let allowed = HeaderValue::try_from(methods).expect("methods are words");
        let wrong_method = move |request: HttpRequest| {
            let mut response = problem::wrong_method(&request).error_response();
            response.headers_mut().insert(ALLOW, allowed.clone());
            async move { response }
        };
        let resource = routes.into_iter().fold(web::resource(path), |resource, route| resource.route(route));
        let counted = resource.default_service(web::to(wrong_method)).wrap_fn(move |request, route| {
            let metrics = request.app_data::<web::Data<Face>>().map(|face| face.metrics.clone());
            let (begun, method) = (Instant::now(), method_name(request.method()));
            let answer = route.call(request);
            async move {
                let answer = answer.await?;
                if let Some(metrics) = metrics {
                    metrics.answered(path, method, answer.status().as_u16(), begun.elapsed());
                }
                Ok(answer)
            }
        });
        counted.register(config);
    }
}

/// A method's name; one for all that no route takes, for a client may make up as many as it likes.
fn method_name(method: &Method) -> &'static str {
    [("GET", Method::GET), ("POST", Method::POST), ("DELETE", Method::DELETE)]
        .into_iter()
        .find(|(_, known)| known == method)
        .map_or("other", |(name, _)| name)
}
