//! The engine behind a proxy that terminates TLS: nginx and HAProxy, as `examples/proxies` configures them.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::balancer::{Balancer, Kind, NAME};
use crate::support::client::{Client, JSON, PASSWORD, order};
use crate::support::os::{free_address, run};
use crate::support::process::{SWIFT, Server};
use crate::support::raw;

/// What a client may write into a request to look like another client, or to make the engine tell another address.
const SPOOFED: [(&str, &str); 9] = [
    ("x-forwarded-for", "198.51.100.1, 127.0.0.1"),
    ("x-forwarded-for", "unknown"),
    ("forwarded", "for=198.51.100.1;host=evil.example;proto=http"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-server", "evil.example"),
    ("x-real-ip", "198.51.100.1"),
    ("x-original-host", "evil.example"),
];

/// An engine behind a balancer, which has that name.
struct Site {
    balancer: Balancer,
    server: Server,
    client: Client,
}

impl Site {
    /// Starts both. The two settings of the examples are all that the engine needs to know about the balancer.
    fn start(kind: Kind, name: &str, settings: &[(&str, &str)]) -> Self {
        let engine = free_address();
        let balancer = Balancer::start(kind, engine);
        let mut server = Server::stopped(SWIFT.iter().chain(settings).copied());
        server.set("server.host", &engine.ip().to_string());
        server.set("server.port", &engine.port().to_string());
        server.set("server.public_url", &balancer.url(name));
        server.set("server.trusted_proxies", "127.0.0.1");
        server.restart();
        let client = balancer.client(name);
        Self { balancer, server, client }
    }

    /// The same at a name of this machine, where clients need no login.
    fn local(kind: Kind, settings: &[(&str, &str)]) -> Self {
        Self::start(kind, "localhost", settings)
    }
}

/// The path of a URL that must begin with that origin.
#[track_caller]
fn path_below<'a>(origin: &str, url: &'a Value) -> &'a str {
    let url = url.as_str().unwrap();
    url.strip_prefix(origin).unwrap_or_else(|| panic!("{url} is not below {origin}"))
}

#[actix::test]
async fn an_order_is_submitted_and_followed_through_nginx_and_haproxy_at_the_addresses_that_are_told() {
    for kind in [Kind::Nginx, Kind::HaProxy] {
        let site = Site::start(kind, NAME, &[("auth.required", "true")]);
        let (url, sockets) = (site.balancer.url(NAME), site.balancer.url(NAME).replace("https:", "wss:"));
        let alice = site.client.registered("alice").await;

        let submitted = alice.submit(json!({})).await;
        assert_eq!(submitted.status, 201, "{submitted:?}");
        assert_eq!(submitted.header("location"), Some(format!("/api/orders/{}", submitted.order_id()).as_str()));
        let told = path_below(&sockets, &submitted.body["websocketUrl"]);
        assert_eq!(submitted.body["socketUrl"], submitted.body["websocketUrl"]);
        let log = alice.socket(told).await.until_closed().await;
        log.assert_gapless();
        assert_eq!((log.statuses().last(), log.close), (Some(&"confirmed"), Some(1000)), "{kind:?}");

        let mut socket = alice.follow_all().await;
        socket.send(&json!({ "type": "submit", "order": order(json!({})) })).await;
        let mut steps = Vec::new();
        while steps.last() != Some(&json!("confirmed")) {
            let message = socket.next().await.unwrap();
            // The answer to the submit can come before or after the first step.
            if message["type"] == "order:update" {
                steps.push(message["status"].clone());
                assert_eq!(message["seq"], steps.len(), "{message}");
            }
        }

        let openapi = alice.get("/api/openapi.json").await.body;
        assert_eq!(openapi["servers"], json!([{ "url": url }, { "url": "/" }]));
        let told = &alice.get("/api/asyncapi.json").await.body["servers"]["here"];
        assert_eq!(told, &json!({ "host": url.strip_prefix("https://"), "protocol": "wss" }));
        let postman = alice.get("/api/postman.json").await.body;
        assert_eq!(postman["variable"][0], json!({ "key": "baseUrl", "value": url }));
    }
}

#[actix::test]
async fn a_page_of_the_public_url_is_the_engines_own_and_no_other_page_is() {
    for kind in [Kind::Nginx, Kind::HaProxy] {
        let site = Site::start(kind, NAME, &[("auth.required", "true")]);
        let url = site.balancer.url(NAME);
        let alice = site.client.registered("alice").await;
        let html = alice.get("/docs").await;
        assert_eq!(html.status, 200);
        let files: Vec<_> = html.body.as_str().unwrap().split('"').filter(|text| text.starts_with("docs/")).collect();
        assert_eq!(files.len(), 3);
        for file in files.into_iter().chain(["docs/openapi.json"]) {
            assert_eq!(alice.get(&format!("/{file}")).await.status, 200, "{file}");
        }

        // What the console of that page does.
        let page = alice.in_page_of(&url);
        let submitted = page.submit(json!({})).await;
        assert_eq!((submitted.status, submitted.header("access-control-allow-origin")), (201, None));
        let told = path_below(&url.replace("https:", "wss:"), &submitted.body["websocketUrl"]);
        let ticket = page.ticket().await;
        let log = site.client.in_page_of(&url).socket(&format!("{told}?ticket={ticket}")).await.until_closed().await;
        assert_eq!(log.statuses().last(), Some(&"confirmed"), "{kind:?}");

        for foreign in ["https://evil.example", &url.replace("https:", "http:"), &format!("https://{NAME}"), "null"] {
            let page = alice.in_page_of(foreign);
            page.submit(json!({})).await.assert_problem(403, "origin_not_allowed");
            assert!(page.try_socket("/ws").await.is_err(), "{foreign}");
        }
    }
}

#[actix::test]
async fn clients_behind_one_proxy_have_separate_limits_whatever_they_claim() {
    for kind in [Kind::Nginx, Kind::HaProxy] {
        let site = Site::local(
            kind,
            &[
                ("limits.requests_per_second", "1"),
                ("limits.burst", "20"),
                ("auth.attempts_per_address", "3"),
                ("ws.max_sockets_per_client", "1"),
            ],
        );
        let [one, other] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(|address| site.client.at(address));

        // Sockets.
        let _open = one.socket("/ws").await;
        assert!(one.try_socket("/ws").await.is_err());
        let _open = other.socket("/ws").await;

        // Logins; each attempt has another name, so only the address counts.
        let log_in = async |client: &Client, name: &str, spoofed: &[(&str, &str)]| {
            let body = json!({ "username": name, "password": PASSWORD }).to_string();
            client.request("POST", "/api/auth/login", &[&[JSON], spoofed].concat(), body).await
        };
        for name in ["ann", "ben", "cat"] {
            log_in(&one, name, &[]).await.assert_problem(401, "invalid_credentials");
        }
        log_in(&one, "dan", &[]).await.assert_problem(429, "too_many_attempts");
        log_in(&one, "eve", &SPOOFED).await.assert_problem(429, "too_many_attempts");
        log_in(&other, "fay", &[]).await.assert_problem(401, "invalid_credentials");

        // Requests.
        while one.get("/live").await.status == 200 {}
        one.get_with("/live", &SPOOFED).await.assert_problem(429, "too_many_requests");
        let answer = other.get("/live").await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, Some("\"requests\";q=20;w=20")));

        // A client on this machine that does not use the proxy is not limited.
        let direct = Client::of(site.server.client.url()).at([127, 0, 0, 4]).get("/live").await;
        assert_eq!((direct.status, direct.header("ratelimit")), (200, None));
    }
}

#[actix::test]
async fn what_a_client_claims_changes_no_address_that_is_told() {
    for kind in [Kind::Nginx, Kind::HaProxy] {
        let site = Site::local(kind, &[]);
        let sockets = site.balancer.url("localhost").replace("https:", "wss:");
        let direct = Client::of(site.server.client.url()).at([127, 0, 0, 4]);
        for client in [&site.client, &direct] {
            let headers = [&SPOOFED[..], &[JSON]].concat();
            let answer = client.request("POST", "/api/orders", &headers, order(json!({})).to_string()).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            path_below(&sockets, &answer.body["websocketUrl"]);
            assert!(!format!("{answer:?}").contains("evil"), "{answer:?}");
            for path in ["/api/openapi.json", "/api/asyncapi.json", "/api/postman.json", "/docs"] {
                let answer = client.get_with(path, &SPOOFED).await;
                assert!(answer.status == 200 && !format!("{answer:?}").contains("evil.example"), "{path}");
            }
        }
        for host in ["evil.example", "localhost.evil.example"] {
            let answer = site.client.get_with("/api/tokens", &[("host", host)]).await;
            answer.assert_problem(421, "host_not_allowed");
        }
    }
}

#[actix::test]
async fn a_client_that_is_no_trusted_proxy_is_counted_at_its_own_address() {
    let limits = [("limits.loopback", "true"), ("limits.requests_per_second", "1"), ("limits.burst", "5")];
    for trusted in ["", "127.0.0.9"] {
        let server = Server::start(SWIFT.into_iter().chain(limits).chain([("server.trusted_proxies", trusted)]));
        let mut statuses = Vec::new();
        for number in 0..20 {
            let claimed = format!("198.51.100.{number}");
            let headers = [("x-forwarded-for", claimed.as_str()), ("forwarded", &format!("for={claimed}"))];
            statuses.push(server.client.at([127, 0, 0, 2]).get_with("/live", &headers).await.status);
        }
        assert!(statuses.contains(&429), "{trusted:?}: {statuses:?}");
        assert_eq!(server.client.at([127, 0, 0, 3]).get("/live").await.status, 200);
    }
}

#[actix::test]
async fn only_the_chosen_header_of_a_trusted_proxy_counts() {
    let settings = [
        ("server.trusted_proxies", "127.0.0.0/24"),
        ("server.forwarded_header", "forwarded"),
        ("limits.requests_per_second", "1"),
        ("limits.burst", "5"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    let get = async |headers: &[(&str, &str)]| server.client.get_with("/live", headers).await;
    let client = [("forwarded", "for=198.51.100.1, for=\"[2001:db8::7]:80\", for=127.0.0.8")];
    while get(&client).await.status == 200 {}
    // The same network, and a chain that ends in the same client.
    get(&[("forwarded", "for=\"[2001:db8::8]\"")]).await.assert_problem(429, "too_many_requests");
    get(&[("forwarded", "for=203.0.113.1"), client[0]]).await.assert_problem(429, "too_many_requests");
    for others in ["for=203.0.113.1", "for=unknown", "for=\"[2001:db8:0:1::7]\"", "nonsense"] {
        let answer = get(&[("forwarded", others), ("x-forwarded-for", "2001:db8::7")]).await;
        assert_eq!((answer.status, answer.header("ratelimit").is_some()), (200, true), "{others}");
    }
    let own = get(&[("x-forwarded-for", "2001:db8::7")]).await;
    assert_eq!((own.status, own.header("ratelimit")), (200, None));
}

#[test]
fn an_engine_with_a_public_url_that_is_not_of_this_machine_demands_authentication() {
    let server = Server::stopped(SWIFT);
    let serve = |url: &str, arguments: &[&str], required: &str| {
        let mut command = server.command(arguments);
        command.env("ORDER_ENGINE__SERVER__PUBLIC_URL", url).env("ORDER_ENGINE__AUTH__REQUIRED", required);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    for url in ["https://engine.example.org", "http://192.0.2.7:8080"] {
        let refused = run(&mut serve(url, &["serve"], "false"));
        assert_eq!(refused.code, Some(78), "{refused:?}");
        let names = ["server.public_url", url, "auth.required", "--insecure"];
        assert!(names.iter().all(|name| refused.stderr.contains(name)), "{refused:?}");
    }
    for (url, arguments, required) in [
        ("https://engine.example.org", &["serve"][..], "true"),
        ("https://engine.example.org", &["serve", "--insecure"], "false"),
        ("https://localhost:8443", &["serve"], "false"),
        ("https://127.0.0.1", &["serve"], "false"),
    ] {
        let mut child = serve(url, arguments, required).spawn().unwrap();
        let mut greeting = [0; 512];
        let read = child.stdout.take().unwrap().read(&mut greeting).unwrap();
        let greeting = String::from_utf8_lossy(&greeting[..read]);
        assert!(greeting.contains(&format!("  public    {url}\n")), "{greeting}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[actix::test]
async fn a_connection_of_a_proxy_is_kept_for_longer_than_the_proxy_keeps_it() {
    const REQUEST: &[u8] = b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let short = ("server.keep_alive_ms", "300");
    let behind_proxy = Server::start([short, ("server.trusted_proxies", "127.0.0.1")]);
    let alone = Server::start([short]);
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(REQUEST).unwrap();
        let read = stream.read(&mut [0; 4096]).unwrap();
        assert!(read > 0, "the connection is closed");
    };
    let (mut kept, mut closed) = (raw::connect(&behind_proxy.client), raw::connect(&alone.client));
    ask(&mut kept);
    ask(&mut closed);
    // The same idle time has passed on both connections.
    assert_eq!(closed.read(&mut [0; 1]).unwrap(), 0);
    ask(&mut kept);
}

#[actix::test]
async fn a_keep_alive_that_is_too_short_for_a_proxy_is_reported_at_the_start() {
    let mut server = Server::stopped([
        ("server.trusted_proxies", "127.0.0.1"),
        ("server.proxy_keep_alive_ms", "60000"),
        ("log.level", "warn"),
    ]);
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    server.terminate();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("server.proxy_keep_alive_ms is below 75000"), "{log}");
}

#[test]
fn wrong_settings_about_proxies_are_refused_by_name() {
    let server = Server::stopped([]);
    for (key, value, reason) in [
        ("PUBLIC_URL", "engine.example.org", "server.public_url: must be http:// or https://"),
        ("PUBLIC_URL", "https://engine.example.org/engine", "without a path"),
        ("TRUSTED_PROXIES", "127.0.0.1,localhost", "server.trusted_proxies: must be a list of IP addresses and nets"),
        ("TRUSTED_PROXIES", "0.0.0.0/0", "would trust every client"),
        ("TRUSTED_PROXIES", "10.1.2.3/16", "the net of 10.1.2.3/16 is 10.1.0.0/16"),
        ("FORWARDED_HEADER", "x-real-ip", "server.forwarded_header: must be x-forwarded-for or forwarded"),
    ] {
        let refused = run(server.command(&["config"]).env(format!("ORDER_ENGINE__SERVER__{key}"), value));
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert!(refused.printed().contains(reason), "{refused:?}");
    }
}
