//! The command line as a client: it makes no order twice, and asks before it accepts a high slippage.

use std::io::Write;
use std::process::Stdio;

use crate::support::os::{Finished, free_address, run_aside};
use crate::support::process::{SWIFT, Server};
use crate::support::proxy::losing_answers;

#[actix::test]
async fn lost_answers_do_not_make_submit_create_a_second_order() {
    let server = Server::start(SWIFT);
    let url = format!("http://{}", losing_answers(server.client.address(), 2));
    let output = run_aside(server.command(&["submit", "SOL", "USDC", "1", "--url", &url])).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let stored = server.client.all_orders().await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(output.stdout.starts_with(stored[0]["orderId"].as_str().unwrap()), "{output:?}");
}

#[actix::test]
async fn submit_prints_its_key_and_a_repeat_with_it_is_the_same_order() {
    let server = Server::start(SWIFT);
    // Every answer is lost, so the operator has to repeat the command.
    let url = format!("http://{}", losing_answers(server.client.address(), usize::MAX));
    let output = run_aside(server.command(&["submit", "SOL", "USDC", "1", "--url", &url])).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let key = output.stderr.lines().find_map(|line| line.strip_prefix("key ")).expect("the key is printed").to_owned();
    assert!(output.stderr.contains(&format!("repeat with --key {key}")), "{output:?}");
    let output =
        run_aside(server.command(&["submit", "SOL", "USDC", "1", "--url", server.client.url(), "--key", &key])).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(server.client.all_orders().await.len(), 1);
}

#[actix::test]
async fn submit_without_an_engine_fails_and_does_not_report_an_unknown_outcome() {
    let server = Server::stopped(SWIFT);
    let nowhere = free_address();
    let output =
        run_aside(server.command(&["submit", "SOL", "USDC", "1", "--url", &format!("http://{nowhere}")])).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(!output.stderr.contains("may have been accepted"), "{output:?}");
}

#[actix::test]
async fn a_slippage_of_50_percent_is_refused_in_a_script_without_the_option_yes() {
    let server = Server::start(SWIFT);
    let wide = ["submit", "SOL", "USDC", "1", "--slippage", "0.5", "--url", server.client.url()];
    let output = run_aside(server.command(&wide)).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("50 %") && output.stderr.contains("--yes"), "{output:?}");
    assert!(server.client.all_orders().await.is_empty());
    let output = run_aside(server.command(&[&wide[..], &["--yes"]].concat())).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(server.client.all_orders().await.len(), 1);
}

#[actix::test]
async fn a_slippage_of_50_percent_is_confirmed_at_a_terminal() {
    let server = Server::start(SWIFT);
    for (typed, code, orders_then) in [("n\n", 1, 0), ("y\n", 0, 1)] {
        let command =
            server.command(&["submit", "SOL", "USDC", "1", "--slippage", "0.5", "--url", server.client.url()]);
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
        let line = words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        // `script` gives the command a terminal.
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
            Finished::from(output)
        })
        .await
        .unwrap();
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stdout.contains("[y/N]"), "{output:?}");
        assert_eq!(server.client.all_orders().await.len(), orders_then);
    }
}
