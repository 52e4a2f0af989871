//! The floor of a fan-out: a loop over raw sockets that writes the same bytes to each, as simple and quick as can be. It speaks just
//! enough WebSocket that the same sockets load it.

use super::swarm::frames;
use crate::Result;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// Takes connections. Whenever the first one sends something, it writes a frame to every one.
///
/// # Errors
/// When a socket breaks; the end of the first one is the end of all.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let (sender, first) = mpsc::channel();
    let accepted = sockets.clone();
    thread::spawn(move || -> Result<()> {
        loop {
            // Whoever only looks whether somebody listens says nothing.
            let Some(socket) = accept(&listener)? else {
                continue;
            };
            let mut sockets = accepted.lock().unwrap_or_else(PoisonError::into_inner);
            if sockets.is_empty() {
                sender.send(socket.try_clone()?)?;
            } else {
                socket.set_nonblocking(true)?;
            }
            sockets.push(socket);
        }
    });
    let mut first = first.recv()?;
    let mut scratch = [0; 1024];
    for number in 1.. {
        if first.read(&mut scratch)? == 0 {
            break;
        }
        write_to_all(&sockets, &frames::from_server(&notification(number)))?;
    }
    Ok(())
}

fn write_to_all(sockets: &Mutex<Vec<TcpStream>>, frame: &[u8]) -> Result<()> {
    let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
    for mut socket in &*sockets {
        // Each is idle, so the system takes all of a short frame.
        if socket.write(frame)? < frame.len() {
            return Err("a socket did not take a whole frame".into());
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<Option<TcpStream>> {
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut lines = BufReader::new(&socket);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
    }
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: sluice.v1\r\n\r\n";
    match socket.write_all(answer.as_bytes()) {
        Ok(()) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As long as what Sluice says of a file that is cached.
fn notification(number: u64) -> String {
    let id = "01920b6e-7c00-7000-8000-000000000001";
    let digest = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    format!(
        r#"{{"type":"notification","topic":"user:{id}","epoch":"{id}","offset":{number},"event":"file.cached","time":"2026-11-21T02:00:00.000000Z","data":{{"upload_id":"{id}","file_id":"{id}","name":"file.bin","size":1024,"digest":"sha256:{digest}","status":"cached","owner":{{"id":"{id}","name":"user-0"}},"pool":null,"attempt":null,"reason":null}}}}"#
    )
}
