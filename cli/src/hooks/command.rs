//! A hook that is a program of this machine: the question on its standard input, the answer on its standard output.
use anyhow::bail;
use async_trait::async_trait;
use jitp_provisioner::{Callback, Callbacks};
use std::ffi::OsString;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Bytes of its standard error that a message repeats.
const COMPLAINT: u64 = 400;

/// A command, run once per question, without a shell. It is killed when nobody waits for it any more.
pub struct LocalCommand {
    program: OsString,
    arguments: Vec<OsString>,
}

impl LocalCommand {
    /// The program and its arguments.
    pub fn new(words: &[String]) -> anyhow::Result<Self> {
        let Some((program, arguments)) = words.split_first() else {
            bail!("command is empty: name a program and its arguments");
        };
        Ok(Self { program: program.into(), arguments: arguments.iter().map(OsString::from).collect() })
    }
}

#[async_trait]
impl Callback for LocalCommand {
    async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&format!("cannot run {}", self.program.display()), error))?;
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the command has no standard input and output".into());
        };
        let ask = async move {
            // One that does not read the question may still answer.
            let _ = stdin.write_all(question).await;
            drop(stdin);
        };
        let listen = async {
            let mut answer = Vec::new();
            let most = Callbacks::LONGEST_ANSWER as u64 + 1;
            stdout.take(most).read_to_end(&mut answer).await.map(|_| answer)
        };
        let complain = async {
            let mut complaint = Vec::new();
            let _ = (&mut stderr).take(COMPLAINT).read_to_end(&mut complaint).await;
            // What is not read would stop it.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            String::from_utf8_lossy(&complaint).trim().to_owned()
        };
        let ((), answer, complaint) = tokio::join!(ask, listen, complain);
        let answer = answer.map_err(|error| failed("its output cannot be read", error))?;
        if answer.len() > Callbacks::LONGEST_ANSWER {
            return Ok(answer);
        }
        let status = child.wait().await.map_err(|error| failed("it cannot be waited for", error))?;
        if status.success() { Ok(answer) } else { Err(format!("it ended with {status}: {complaint:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(words: &[&str], question: &[u8]) -> Result<Vec<u8>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        LocalCommand::new(&words).unwrap().call(question).await
    }

    #[tokio::test]
    async fn a_command_reads_the_question_and_prints_the_answer() {
        let long = vec![b'x'; 200_000];
        assert_eq!(run(&["cat"], &long).await.unwrap(), long);
        assert_eq!(run(&["printf", "%s", "a b;$HOME"], b"unread").await.unwrap(), b"a b;$HOME");
    }

    #[tokio::test]
    async fn one_that_fails_or_does_not_exist_gives_no_answer() {
        let error = run(&["sh", "-c", "echo '{}'; echo no database >&2; exit 3"], b"").await.unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("no database"), "{error}");
        let error = run(&["/nowhere/hook"], b"").await.unwrap_err();
        assert!(error.contains("/nowhere/hook"), "{error}");
    }

    #[tokio::test]
    async fn one_that_prints_without_end_is_cut_off() {
        let answer = run(&["sh", "-c", "exec yes"], b"").await.unwrap();
        assert_eq!(answer.len(), Callbacks::LONGEST_ANSWER + 1);
    }
}
