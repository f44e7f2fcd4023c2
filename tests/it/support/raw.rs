//! Bytes on the wire, for requests and frames that no HTTP client would send.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::client::Client;
use crate::support::wait::TIMEOUT;

/// The headers that ask for a WebSocket.
pub const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Opens a connection to the client's server. Reads and writes fail after [`TIMEOUT`].
pub fn connect(client: &Client) -> TcpStream {
    let stream = TcpStream::connect(client.address()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Opens a connection and asks for a WebSocket on a path; the caller reads the answer.
pub fn upgrade(client: &Client, path: &str) -> TcpStream {
    let mut stream = connect(client);
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", client.address());
    for (name, value) in UPGRADE {
        request += &format!("{name}: {value}\r\n");
    }
    if let Some(bearer) = client.bearer() {
        request += &format!("authorization: Bearer {bearer}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    stream
}

/// Sends bytes and reads until the head of an answer is complete or the server closes the connection.
pub fn answer_head(client: &Client, bytes: &[u8]) -> String {
    let mut stream = connect(client);
    // The server may answer, and close, before it has read everything.
    let _ = stream.write_all(bytes);
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes and reads everything until the server closes the connection.
pub fn answer_to_close(client: &Client, bytes: &[u8]) -> String {
    let mut stream = connect(client);
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads and discards everything that arrives, on a thread that ends with the connection.
pub fn discard_answers(stream: &TcpStream) {
    let mut answers = stream.try_clone().unwrap();
    std::thread::spawn(move || while answers.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
}

/// A short WebSocket frame as a client sends it; its mask is all zeros.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("the payload is short");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// The same frame without the bit that ends a message.
pub fn unfinished_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_frame(opcode, payload);
    frame[0] &= 0x7f;
    frame
}
