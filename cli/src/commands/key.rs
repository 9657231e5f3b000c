//! `jitp key`: access keys, who may call and what each may do.
use super::connect;
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::confirm::Sure;
use crate::exit::Exit;
use crate::output::{self, member, optional, time};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything
    Admin,
    /// Everything but changing access keys and CA certificates
    Operator,
    /// Reading
    Viewer,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key; its secret is shown this once
    Create {
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// Whose it is, or what it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List keys, without their secrets
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Let a deactivated key work again
    Activate {
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Refuse the calls of a key until it is activated
    Deactivate {
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a key for good
    Delete {
        id: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        target: Target,
    },
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create { role, description, target } => {
            create(global, &connect(global, &target)?, role, description).await
        }
        Command::List { target } => list(global, &connect(global, &target)?).await,
        Command::Activate { id, target } => switch(global, &connect(global, &target)?, &id, "ACTIVE").await,
        Command::Deactivate { id, target } => {
            switch(global, &connect(global, &target)?, &id, "INACTIVE").await
        }
        Command::Delete { id, sure, target } => {
            sure.about(&format!("Delete the access key {id}"))?;
            delete(global, &connect(global, &target)?, &id).await
        }
    }
}

async fn create(
    global: &Global,
    client: &Client,
    role: Role,
    description: Option<String>,
) -> anyhow::Result<Exit> {
    let role = match role {
        Role::Admin => "admin",
        Role::Operator => "operator",
        Role::Viewer => "viewer",
    };
    let key = client.post("/jitp/v1/keys", &json!({ "role": role, "description": description })).await?;
    if global.json {
        return output::json(&key);
    }
    output::fields(&[
        ("access key id", optional(&key, "accessKeyId")),
        ("secret access key", optional(&key, "secretAccessKey")),
        ("role", optional(&key, "role")),
        ("description", optional(&key, "description")),
    ])?;
    output::line("The secret is not shown again. Use both as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")?;
    Ok(Exit::Success)
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let mut reply = client.get("/jitp/v1/keys").await?;
    let keys = reply.get_mut("accessKeys").map(Value::take).unwrap_or_default();
    if global.json {
        return output::json(&keys);
    }
    let row = |key: &Value| {
        let built_in = key.get("builtIn").and_then(Value::as_bool).unwrap_or_default();
        let description = if built_in { "of the data directory" } else { &member(key, "description") };
        vec![
            member(key, "accessKeyId"),
            member(key, "role"),
            member(key, "status"),
            time(key, "creationDate").unwrap_or_default(),
            description.to_owned(),
        ]
    };
    let rows = keys.as_array().map(|keys| keys.iter().map(row).collect()).unwrap_or_default();
    output::table(&["access key", "role", "status", "created", "description"], rows)
}

async fn switch(global: &Global, client: &Client, id: &str, status: &str) -> anyhow::Result<Exit> {
    client.patch(&format!("/jitp/v1/keys/{}", encode(id)), &json!({ "status": status })).await?;
    if global.json {
        return output::json(&json!({ "accessKeyId": id, "status": status }));
    }
    output::line(&format!("{id} is {}", status.to_lowercase()))?;
    Ok(Exit::Success)
}

async fn delete(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    client.delete(&format!("/jitp/v1/keys/{}", encode(id))).await?;
    if global.json {
        return output::json(&json!({ "accessKeyId": id, "deleted": true }));
    }
    output::line(&format!("{id} is deleted"))?;
    Ok(Exit::Success)
}
