//! A decision allocates nothing, and compiled permissions are small.
#![expect(unsafe_code, reason = "counting allocations takes a global allocator")]
#![expect(clippy::unwrap_used, reason = "a document that this file writes is valid")]

use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope, ThingContext};
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[test]
fn a_decision_allocates_nothing() {
    let policies: Vec<AttachedPolicy> = (0..10)
        .map(|policy| {
            let statements: Vec<_> = (0..20)
                .map(|statement| {
                    json!({
                        "Effect": if statement == 0 { "Deny" } else { "Allow" },
                        "Action": "iot:*",
                        "Resource": format!("*{policy}/{statement}/*?{}", if statement % 2 == 0 { "a?b*" } else { "" }),
                    })
                })
                .collect();
            attached(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
        })
        .collect();
    let permissions = compile(&policies);
    let names = ["9/19/topic", "9/19", "1/0/xa-b", "", "$share/group/9/19/ü", "nothing/like/that"];
    let before = allocated();
    let mut allowed = 0;
    for name in names {
        for action in Action::ALL {
            allowed += usize::from(permissions.decide(action, name).is_allowed());
        }
        allowed += usize::from(permissions.decide_subscribe(name).is_allowed());
    }
    let after = allocated();
    assert_eq!(before.calls, after.calls);
    assert!(allowed > 10, "{allowed}");
}

#[test]
fn the_permissions_of_a_device_take_less_than_1_5_kilobytes() {
    let policy = attached(BASELINE);
    let before = allocated();
    let permissions = compile(std::slice::from_ref(&policy));
    let kept = allocated().bytes - before.bytes + size_of::<Permissions>() as i64;
    assert!(permissions.decide(Action::Publish, "dev/pump-1/state").is_allowed());
    assert!(kept < 1536, "{kept} bytes");
}

/// `spec/policies.md` section 10.
const BASELINE: &str = r#"{ "Version": "2012-10-17", "Statement": [
  { "Effect": "Allow", "Action": "iot:Connect",
    "Resource": "arn:aws:iot:local-1:000000000000:client/${iot:Connection.Thing.ThingName}",
    "Condition": { "Bool": { "iot:Connection.Thing.IsAttached": "true" } } },
  { "Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"],
    "Resource": "arn:aws:iot:local-1:000000000000:topic/dev/${iot:Connection.Thing.ThingName}/*" },
  { "Effect": "Allow", "Action": "iot:Subscribe",
    "Resource": "arn:aws:iot:local-1:000000000000:topicfilter/dev/${iot:Connection.Thing.ThingName}/*" } ] }"#;

fn attached(document: &str) -> AttachedPolicy {
    AttachedPolicy { name: "p".into(), version: 1, document: Document::parse(document).unwrap().into() }
}

fn compile(policies: &[AttachedPolicy]) -> Permissions {
    let scope = Scope { region: "local-1".to_owned(), account: "000000000000".to_owned() };
    let thing = ThingContext { name: "pump-1".to_owned(), ..ThingContext::default() };
    let context = Context {
        client_id: Some("pump-1".to_owned()),
        thing: Some(thing),
        thing_is_attached: true,
        ..Context::default()
    };
    Permissions::compile(policies, &scope, &context)
}

/// What this thread has asked of the allocator; other tests run beside it.
#[derive(Debug, Clone, Copy)]
struct Allocated {
    calls: u64,
    bytes: i64,
}

thread_local! {
    static ALLOCATED: Cell<Allocated> = const { Cell::new(Allocated { calls: 0, bytes: 0 }) };
}

fn allocated() -> Allocated {
    ALLOCATED.get()
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn count(bytes: i64) {
        // Gone while the thread ends.
        let _ = ALLOCATED.try_with(|cell| {
            let Allocated { calls, bytes: before } = cell.get();
            cell.set(Allocated { calls: calls + 1, bytes: before + bytes });
        });
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as i64);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
