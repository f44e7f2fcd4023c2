//! The client against servers that do everything wrong that a server can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::script::scripted;
use super::*;

/// What a server does with a request.
enum Reply {
    /// Writes these bytes and closes the connection.
    Bytes(String),
    /// Writes these bytes again and again.
    Endless(String, String),
    /// Writes nothing and keeps the connection open.
    Nothing,
}

/// A server, and the number of requests that it has got.
struct Server {
    url: EndpointUrl,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:hunter2@{}/hunter2?key=hunter2", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (reply, counted) = (Arc::new(reply), requests.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, reply.clone(), counted.clone()));
            }
        });
        Self { url, requests }
    }

    fn client(&self) -> Rpc {
        Rpc::new(Arc::new(HttpTransport::new(self.url.clone(), Duration::from_millis(1_000)).unwrap()))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, reply: Arc<dyn Fn(&Value) -> Reply + Send + Sync>, counted: Arc<AtomicUsize>) {
    let Some(request) = request(&mut stream).await else { return };
    counted.fetch_add(1, Ordering::SeqCst);
    match reply(&request) {
        Reply::Bytes(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
        Reply::Endless(head, part) => {
            let mut written = stream.write_all(head.as_bytes()).await;
            while written.is_ok() {
                written = stream.write_all(part.as_bytes()).await;
            }
        }
        Reply::Nothing => std::future::pending().await,
    }
}

/// The JSON of one request.
async fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4_096];
        let length = stream.read(&mut part).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(request) = serde_json::from_str(body) {
            return Some(request);
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"))
}

fn ok(body: &Value) -> Reply {
    http("200 OK", "content-type: application/json\r\n", &body.to_string())
}

fn result(request: &Value, result: Value) -> Reply {
    ok(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
}

fn error(request: &Value, code: i64, message: &str) -> Reply {
    ok(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": code, "message": message } }))
}

/// The error of one call to a server that replies like that.
async fn failure(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> RpcError {
    let server = Server::start(reply).await;
    let error = server.client().block_height(Commitment::Finalized).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

#[tokio::test]
async fn a_call_names_its_method_and_commitment_and_its_answer_keeps_the_slot() {
    let server = Server::start(|request| {
        assert_eq!(request["method"], "getLatestBlockhash");
        assert_eq!(request["params"], json!([{ "commitment": "confirmed" }]));
        let value = json!({ "blockhash": "11111111111111111111111111111112", "lastValidBlockHeight": 240 });
        result(request, json!({ "context": { "slot": 99, "apiVersion": "4.2.2" }, "value": value }))
    });
    let server = server.await;
    let latest = server.client().latest_blockhash(Commitment::Confirmed).await.unwrap();
    assert_eq!((latest.slot, latest.value.last_valid_block_height), (99, 240));
}

#[tokio::test]
async fn an_endpoint_that_limits_the_rate_is_left_alone_for_as_long_as_it_asks() {
    let server = Server::start(|_| http("429 Too Many Requests", "retry-after: 7\r\n", "slow down")).await;
    let client = server.client();
    let refused = client.genesis_hash().await.unwrap_err();
    assert_eq!(refused, RpcError::Busy { wait: Duration::from_secs(7) });
    let RpcError::Busy { wait } = client.genesis_hash().await.unwrap_err() else { panic!("it was called") };
    assert!(wait > Duration::from_secs(5), "{wait:?}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_behind_is_called_again_after_a_pause() {
    let first = AtomicUsize::new(0);
    let server = Server::start(move |request| match first.fetch_add(1, Ordering::SeqCst) {
        0 => error(request, -32005, "Node is behind by 200 slots"),
        _ => result(request, json!(5)),
    });
    let server = server.await;
    let client = server.client();
    let RpcError::Busy { wait } = client.block_height(Commitment::Finalized).await.unwrap_err() else { panic!() };
    tokio::time::sleep(wait).await;
    assert_eq!(client.block_height(Commitment::Finalized).await, Ok(5));
}

#[tokio::test]
async fn each_kind_of_wrong_answer_is_an_error_without_the_key_of_the_endpoint() {
    let unreadable = RpcError::Unreadable;
    assert_eq!(failure(|_| http("200 OK", "", "hello")).await, unreadable("it is not an answer of JSON-RPC"));
    assert_eq!(failure(|_| http("200 OK", "", "")).await, unreadable("it is not an answer of JSON-RPC"));
    let other = |_: &Value| ok(&json!({ "jsonrpc": "2.0", "id": 4_711, "result": 5 }));
    assert_eq!(failure(other).await, unreadable("it belongs to another call"));
    let nothing = |request: &Value| ok(&json!({ "jsonrpc": "2.0", "id": request["id"] }));
    assert_eq!(failure(nothing).await, unreadable("it has neither a result nor an error"));
    let other = |request: &Value| result(request, json!("five"));
    assert_eq!(failure(other).await, unreadable("it has another form than expected"));
    assert_eq!(failure(|_| http("500 Internal Server Error", "", "")).await, RpcError::Status(500));
    assert_eq!(failure(|request| error(request, -32011, "no history")).await, RpcError::NoHistory);
    let long = |request: &Value| error(request, -32602, &"x\n".repeat(1_000));
    assert_eq!(failure(long).await, RpcError::Refused { code: -32602, message: "x".repeat(200) });
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_is_cut_off_is_no_answer() {
    assert_eq!(failure(|_| Reply::Nothing).await, RpcError::NoAnswer("it took too long"));
    assert_eq!(failure(|_| Reply::Bytes(String::new())).await, RpcError::NoAnswer("the connection was lost"));
    let cut = |_: &Value| Reply::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\":".into());
    assert_eq!(failure(cut).await, RpcError::NoAnswer("the answer was cut off"));
    let slow = |_: &Value| Reply::Bytes("HTTP/1.1 200 OK\r\n".into());
    assert_eq!(failure(slow).await, RpcError::NoAnswer("the connection was lost"));
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{unused}/hunter2").parse().unwrap();
    let client = Rpc::new(Arc::new(HttpTransport::new(url, Duration::from_secs(5)).unwrap()));
    assert_eq!(client.genesis_hash().await, Err(RpcError::NoAnswer("the connection failed")));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let announced = |_: &Value| Reply::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".into());
    assert_eq!(failure(announced).await, RpcError::Unreadable("it is too large"));
    let endless = |_: &Value| {
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "1".repeat(1 << 20));
        Reply::Endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), chunk)
    };
    let server = Server::start(endless).await;
    let client = Rpc::new(Arc::new(HttpTransport::new(server.url.clone(), Duration::from_secs(60)).unwrap()));
    let error = client.block_height(Commitment::Finalized).await.unwrap_err();
    assert_eq!(error, RpcError::Unreadable("it is too large"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::start(|request| result(request, json!(5))).await;
    let location = format!("location: http://{}/\r\n", target.url);
    assert_eq!(failure(move |_| http("307 Temporary Redirect", &location, "")).await, RpcError::Status(307));
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn statuses_are_read_with_every_form_of_an_error() {
    let rpc = scripted(|method, params| {
        assert_eq!(method, "getSignatureStatuses");
        assert_eq!(params[1], json!({ "searchTransactionHistory": true }));
        let status = |err: Value, commitment: Value| {
            let confirmations = Value::Null;
            json!({ "slot": 7, "confirmations": confirmations, "err": err, "confirmationStatus": commitment })
        };
        Ok(json!({ "context": { "slot": 9 }, "value": [
            null,
            status(Value::Null, json!("finalized")),
            status(json!({ "InstructionError": [3, { "Custom": 6005 }] }), json!("confirmed")),
            status(json!({ "InstructionError": [0, "MissingAccount"] }), json!("processed")),
            status(json!({ "InsufficientFundsForRent": { "account_index": 1 } }), Value::Null),
            status(json!(["?"]), json!("finalized")),
        ]}))
    });
    let statuses = rpc.signature_statuses(&[Signature([1; 64]); 6]).await.unwrap();
    let instruction = |index, number, name: &str| TransactionError::Instruction { index, number, name: name.into() };
    let whole = |name: &str| TransactionError::Whole(name.into());
    let expected = [
        (None, Commitment::Finalized),
        (Some(instruction(3, Some(6005), "Custom")), Commitment::Confirmed),
        (Some(instruction(0, None, "MissingAccount")), Commitment::Processed),
        (Some(whole("InsufficientFundsForRent")), Commitment::Processed),
        (Some(whole("unknown")), Commitment::Finalized),
    ];
    assert_eq!((statuses.slot, &statuses.value[0]), (9, &None));
    let read = statuses.value[1..].iter().flatten().map(|status| (status.err.clone(), status.commitment()));
    assert_eq!(read.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_list_with_another_number_of_items_than_asked_for_is_not_used() {
    let rpc = scripted(|_, _| Ok(json!({ "context": { "slot": 9 }, "value": [null] })));
    let unreadable = || RpcError::Unreadable("it has another number of items");
    assert_eq!(rpc.signature_statuses(&[Signature([1; 64]); 2]).await, Err(unreadable()));
    let accounts = rpc.multiple_accounts(&[Address::default(); 2], Commitment::Confirmed).await;
    assert_eq!(accounts, Err(unreadable()));
}

#[tokio::test]
async fn accounts_are_read_with_their_owner_and_data() {
    let rpc = scripted(|method, params| {
        let account = json!({ "lamports": 5, "owner": "11111111111111111111111111111112", "data": ["AQID", "base64"] });
        Ok(match method {
            "getMultipleAccounts" => json!({ "context": { "slot": 9 }, "value": [account, null] }),
            "getProgramAccounts" => {
                let filters =
                    json!([{ "dataSize": 637 }, { "memcmp": { "offset": 8, "bytes": "AQ==", "encoding": "base64" } }]);
                assert_eq!(params[1]["filters"], filters);
                json!([{ "pubkey": "11111111111111111111111111111111", "account": account }])
            }
            other => panic!("{other}"),
        })
    });
    let accounts = rpc.multiple_accounts(&[Address::default(); 2], Commitment::Confirmed).await.unwrap();
    let owner = "11111111111111111111111111111112".parse().unwrap();
    let account = AccountData { lamports: 5, owner, data: vec![1, 2, 3] };
    assert_eq!(accounts, At { slot: 9, value: vec![Some(account.clone()), None] });
    let filters = [AccountFilter::Length(637), AccountFilter::Bytes(8, vec![1])];
    let found = rpc.program_accounts(&Address::default(), &filters, Commitment::Confirmed).await.unwrap();
    assert_eq!(found, [ProgramAccount { pubkey: Address::default(), account }]);
}

#[tokio::test]
async fn a_swap_is_sent_without_checks_and_resends_of_the_endpoint_and_simulated_exactly_or_with_another_blockhash() {
    let rpc = scripted(|method, params| {
        assert_eq!(params[0], "AQID");
        match method {
            "sendTransaction" => {
                assert_eq!(params[1], json!({ "encoding": "base64", "skipPreflight": true, "maxRetries": 0 }));
                Ok(json!("1".repeat(64)))
            }
            "simulateTransaction" => {
                assert_eq!(params[1]["sigVerify"], json!(params[1]["replaceRecentBlockhash"] == json!(false)));
                let value = json!({ "err": null, "logs": ["a"], "unitsConsumed": 54_000 });
                Ok(json!({ "context": { "slot": 9 }, "value": value }))
            }
            other => panic!("{other}"),
        }
    });
    assert_eq!(rpc.send_transaction(&[1, 2, 3]).await, Ok(Signature([0; 64])));
    for mode in [SimulationMode::Exact, SimulationMode::ReplacedBlockhash] {
        let simulation = rpc.simulate_transaction(&[1, 2, 3], mode, Commitment::Confirmed).await.unwrap().value;
        assert_eq!((simulation.err, simulation.units_consumed), (None, Some(54_000)));
    }
}

#[tokio::test]
async fn a_transaction_that_the_endpoint_does_not_know_is_none_and_not_an_error() {
    let server = Server::start(|request| {
        assert_eq!(request["params"][1]["maxSupportedTransactionVersion"], 1);
        result(request, Value::Null)
    });
    let server = server.await;
    assert_eq!(server.client().transaction(Signature([1; 64]), Commitment::Confirmed).await, Ok(None));
}
