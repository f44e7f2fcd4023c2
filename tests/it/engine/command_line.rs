//! The command line as a client that must not buy twice, or more dearly than was meant.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::process::{SWIFT, Server};

/// Forwards connections to the engine, and loses the answers of the first ones after the engine gave them.
fn lossy_way_to(server: &Server, lost: usize) -> String {
    let engine = server.client.url().strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut engine) = (client.unwrap(), TcpStream::connect(&engine).unwrap());
            let (mut asks, mut forward) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut forward));
            if number < lost {
                // The first byte of the answer says that the engine is done.
                engine.read_exact(&mut [0]).unwrap();
                client.shutdown(Shutdown::Both).unwrap();
            } else {
                std::thread::spawn(move || std::io::copy(&mut engine, &mut client));
            }
        }
    });
    format!("http://{address}")
}

async fn run(server: &Server, arguments: &[&str]) -> Output {
    let mut command = server.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    actix_web::web::block(move || command.output().unwrap()).await.unwrap()
}

async fn orders(server: &Server) -> Vec<Value> {
    server.client.get("/api/orders").await.body["orders"].as_array().unwrap().clone()
}

#[actix::test]
async fn a_lost_answer_does_not_make_the_command_line_buy_twice() {
    let server = Server::start(SWIFT);
    let url = lossy_way_to(&server, 2);
    let output = run(&server, &["submit", "SOL", "USDC", "1", "--url", &url]).await;
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let stored = orders(&server).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(told.starts_with(stored[0]["orderId"].as_str().unwrap()), "{told}");
}

#[actix::test]
async fn the_command_line_tells_its_key_and_a_repeat_with_it_is_the_same_order() {
    let server = Server::start(SWIFT);
    // Every answer is lost: the person has to repeat it.
    let url = lossy_way_to(&server, usize::MAX);
    let output = run(&server, &["submit", "SOL", "USDC", "1", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let key = said.lines().find_map(|line| line.strip_prefix("key ")).expect("the key is told").to_owned();
    assert!(said.contains(&format!("repeat with --key {key}")), "{said}");
    let output = run(&server, &["submit", "SOL", "USDC", "1", "--url", server.client.url(), "--key", &key]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(orders(&server).await.len(), 1);
}

#[actix::test]
async fn where_no_engine_listens_the_command_line_says_so_at_once_and_not_that_the_order_may_be_taken() {
    let server = Server::idle(SWIFT);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&server, &["submit", "SOL", "USDC", "1", "--url", &format!("http://{nowhere}")]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("may have been accepted"), "{output:?}");
}

#[actix::test]
async fn a_slippage_of_half_is_not_submitted_from_a_script_that_does_not_say_it_means_it() {
    let server = Server::start(SWIFT);
    let wide = ["submit", "SOL", "USDC", "1", "--slippage", "0.5", "--url", server.client.url()];
    let output = run(&server, &wide).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("50 %") && said.contains("--yes"), "{said}");
    assert!(orders(&server).await.is_empty());
    let output = run(&server, &[&wide[..], &["--yes"]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(orders(&server).await.len(), 1);
}

#[actix::test]
async fn at_a_terminal_the_command_line_asks_before_it_gives_half_away() {
    let server = Server::start(SWIFT);
    for (typed, code, orders_then) in [("n\n", 1, 0), ("y\n", 0, 1)] {
        let command =
            server.command(&["submit", "SOL", "USDC", "1", "--slippage", "0.5", "--url", server.client.url()]);
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
        let line = words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        // Debian's `script` gives it a terminal.
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let typed = typed.to_owned();
        let output = actix_web::web::block(move || {
            let mut child = script.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(typed.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            drop(stdin);
            output
        })
        .await
        .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("[y/N]"), "{output:?}");
        assert_eq!(orders(&server).await.len(), orders_then);
    }
}
