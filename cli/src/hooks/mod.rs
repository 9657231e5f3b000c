//! The programs of `[hooks]`: pre-provisioning hooks, asked over HTTP or run as a command (`docs/hooks.md`).
mod command;
mod http;
mod signature;

use crate::config::Hook;
use anyhow::{Context, bail};
use command::LocalCommand;
use http::HttpHook;
use jitp_provisioner::{Callback, Callbacks};
use signature::Secret;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All configured hooks, by ARN, with their secrets read.
pub fn open(hooks: &BTreeMap<String, Hook>) -> anyhow::Result<Callbacks> {
    let mut callbacks = Callbacks::default();
    for (name, hook) in hooks {
        if callbacks.knows(&hook.arn) {
            bail!("hooks.{name}.arn is {:?}, which another hook has already", hook.arn);
        }
        let callback = open_one(hook).with_context(|| format!("in hooks.{name}"))?;
        callbacks = callbacks.with(&hook.arn, callback, hook.concurrency);
    }
    Ok(callbacks)
}

fn open_one(hook: &Hook) -> anyhow::Result<Arc<dyn Callback>> {
    match (&hook.url, &hook.command) {
        (Some(url), None) => {
            let secret = Secret::find(hook.secret_file.as_deref(), hook.secret_env.as_deref())?;
            Ok(Arc::new(HttpHook::new(url, hook.ca_file.as_deref(), secret)?))
        }
        (None, Some(words)) => {
            if hook.secret_file.is_some() || hook.secret_env.is_some() || hook.ca_file.is_some() {
                bail!(
                    "secret_file, secret_env and ca_file are for a url: a command gets the question from us directly"
                );
            }
            Ok(Arc::new(LocalCommand::new(words)?))
        }
        _ => bail!("give either url or command"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn opened(section: &str) -> anyhow::Result<Callbacks> {
        open(&Config::parse(section, "test")?.hooks)
    }

    #[test]
    fn a_hook_is_an_arn_with_a_url_or_a_command() {
        let hooks = "[hooks.a]\narn = \"arn:aws:lambda:::a\"\nurl = \"http://127.0.0.1:1/\"\n\
                     [hooks.b]\narn = \"arn:aws:lambda:::b\"\ncommand = [\"/bin/true\"]\nconcurrency = 2";
        let callbacks = opened(hooks).unwrap();
        assert_eq!(callbacks.arns().collect::<Vec<_>>(), ["arn:aws:lambda:::a", "arn:aws:lambda:::b"]);
    }

    #[test]
    fn what_is_wrong_with_a_hook_is_said_with_its_name() {
        let arn = "[hooks.site]\narn = \"arn:x\"\n";
        for (section, expected) in [
            ("[hooks.site]\nurl = \"http://h/\"".to_owned(), "arn"),
            (arn.to_owned(), "either url or command"),
            (format!("{arn}url = \"http://h/\"\ncommand = [\"x\"]"), "either url or command"),
            (format!("{arn}url = \"ftp://h/\""), "http"),
            (format!("{arn}url = \"http://user:secret@h/\""), "secret_file"),
            (format!("{arn}command = []"), "command"),
            (format!("{arn}command = [\"x\"]\nsecret_env = \"X\""), "for a url"),
            (format!("{arn}url = \"http://h/\"\nsecret_file = \"/nowhere/secret\""), "/nowhere/secret"),
            (format!("{arn}url = \"http://h/\"\nsecret_env = \"JITP_NO_SUCH_NAME\""), "JITP_NO_SUCH_NAME"),
            (format!("{arn}url = \"http://h/\"\nconcurrency = 0"), "at least 1"),
            (format!("{arn}url = \"http://h/\"\nurI = 0"), "urI"),
            (
                format!("{arn}command = [\"x\"]\n[hooks.twin]\narn = \"arn:x\"\ncommand = [\"y\"]"),
                "another hook",
            ),
            ("[hooks]\nsite = 5".to_owned(), "hooks"),
        ] {
            let text = format!("{:#}", opened(&section).map(drop).unwrap_err());
            assert!(text.contains(expected) && !text.contains("user:secret"), "{section}: {text}");
        }
    }
}
