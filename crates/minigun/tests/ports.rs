//! Routes: ports in every shape, from every kind of stage, to flows of any kind.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{everywhere, sorted, within};
use minigun::{Executor, Flow, Pipeline, Port};

#[test]
fn a_router_sends_to_ports_in_every_shape() {
    everywhere(|executor| {
        let p = Pipeline::new("shapes");
        let inlets: Vec<(Port<u32>, Flow<u32>)> = (0..12).map(|n| p.inlet(&format!("port {n}"))).collect();
        let (ports, flows): (Vec<_>, Vec<_>) = inlets.into_iter().unzip();
        let source = p.source("in", 0..60u32);
        let pair = (&ports[0], &ports[1]);
        source.clone().on(executor, |s| {
            s.router("tuple", pair, |n, (even, odd)| if n % 2 == 0 { even.emit(n) } else { odd.emit(n) })
        });
        let three = [&ports[2], &ports[3], &ports[4]];
        source.clone().on(executor, |s| s.router("array", three, |n, to| to[n as usize % 3].emit(n)));
        let list: Vec<_> = ports[5..8].to_vec();
        source.clone().on(executor, |s| s.router("list", list, |n, to| to[n as usize % 3].emit(n)));
        let map: BTreeMap<_, _> = [("even", &ports[8]), ("odd", &ports[9])].into();
        source.clone().on(executor, |s| {
            s.router("map", map, |n, to| {
                let name = if n % 2 == 0 { "even" } else { "odd" };
                to.get_mut(name).ok_or("no such port")?.emit(n);
                Ok(())
            })
        });
        let map: HashMap<_, _> = [(0, &ports[10]), (1, &ports[11])].into();
        source.on(executor, |s| {
            s.router("hash map", map, |n, to| {
                to.get_mut(&(n % 2)).ok_or("no such port")?.emit(n);
                Ok(())
            })
        });
        let out: Vec<_> =
            flows.into_iter().enumerate().map(|(n, flow)| flow.collect(&format!("from port {n}"))).collect();
        let mut report = p.run().unwrap();
        let classes =
            [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (3, 0), (3, 1), (3, 2), (2, 0), (2, 1), (2, 0), (2, 1)];
        for (out, (modulus, rest)) in out.into_iter().zip(classes) {
            assert_eq!(sorted(report.take(out)), sorted((0..60).filter(|n| n % modulus == rest)));
        }
        let figures = report.stage("array").unwrap().figures;
        assert_eq!((figures.items_in, figures.items_out), (60, 60));
    });
}

#[test]
fn what_a_stage_sent_to_a_port_counts_as_its_own_though_it_comes_back_thinned_to_where_the_rest_goes() {
    everywhere(|executor| {
        let p = Pipeline::new("come back");
        let (port, side) = p.inlet("side");
        let straight = p.source("in", 0..100).on(executor, |s| {
            s.processor_to(
                "split",
                &port,
                |n: i32, out, port| if n < 90 { port.emit(n) } else { out.emit(n) },
            )
        });
        let out = straight.merge(side.filter("few", |n| n % 10 == 0)).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(out).len(), 19, "under {executor}");
        let split = report.stage("split").unwrap().figures;
        assert_eq!((split.items_in, split.items_out, split.filtered), (100, 100, 0), "under {executor}");
    });
}

/// One hop: from a stage run by one executor to a port whose flow goes on under another.
fn hop(from: Executor, to: Executor) {
    let p = Pipeline::new("hop");
    let (port, flow) = p.inlet("port");
    p.source("in", 0..40).on(from, |s| s.router("send", &port, |n, port| port.emit(n)));
    let out = flow.on(to, |s| s.map("receive", |n| n + 1)).collect("out");
    assert_eq!(sorted(p.run().unwrap().take(out)), sorted(1..41), "from {from} to {to}");
}

#[test]
fn an_item_sent_from_any_executor_arrives_once_under_any_other() {
    everywhere(|from| {
        for to in ["inline", "threads:2", "processes:2", "process_per_batch:2"] {
            hop(from, to.parse().unwrap());
        }
    });
}

#[test]
fn a_port_to_which_nothing_is_sent_ends_normally() {
    everywhere(|executor| {
        let p = Pipeline::new("unused");
        let ((port, flow), (other, others)) = (p.inlet::<i32>("never"), p.inlet("always"));
        p.source("in", 0..10).on(executor, |s| s.router("route", (&port, &other), |n, (_, to)| to.emit(n)));
        let never = flow.batch(3).on(executor, |s| s.map("same", |n| n)).collect("from never");
        let always = others.collect("from always");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(never).len(), 0);
        assert_eq!(report.take(always).len(), 10);
    });
}

#[test]
fn a_port_ends_when_the_last_of_its_senders_has() {
    everywhere(|executor| {
        let p = Pipeline::new("senders");
        let (port, flow) = p.inlet("port");
        p.source("nothing", 0..0).on(executor, |s| s.send_to(&port));
        p.source("few", 0..3).on(executor, |s| s.router("few more", &port, |n, port| port.emit(n)));
        let late = p.source("many", 0..300).on(executor, |s| {
            s.processor_to("late", &port, |n, out, port| {
                port.emit(n);
                out.emit(n);
            })
        });
        late.processor("latest", |n, out| out.emit(n)).send_to(&port);
        p.source("from the program", [7]).send_to(&port);
        let out = flow.collect("out");
        let expected = (0..3).chain(0..300).chain(0..300).chain([7]);
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}

#[test]
fn routed_and_merged_items_reach_one_sink() {
    everywhere(|executor| {
        let p = Pipeline::new("static and dynamic");
        let (port, dynamic) = p.inlet("dynamic");
        p.source("three and four", [3, 4]).on(executor, |s| s.send_to(&port));
        let out = p.source("one and two", [1, 2]).merge(dynamic).collect("sink");
        assert_eq!(sorted(p.run().unwrap().take(out)), [1, 2, 3, 4]);
    });
}

#[test]
fn a_step_may_emit_and_send_at_once() {
    everywhere(|executor| {
        let p = Pipeline::new("both");
        let (big, bigs) = p.inlet("big");
        let small = p
            .source("in", 0..50)
            .on(executor, |s| {
                s.processor_to("split", &big, |n: i32, out, big| {
                    out.emit(n);
                    if n >= 40 {
                        big.emit(n.to_string());
                    }
                })
            })
            .collect("small");
        let bigs = bigs.collect("bigs");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(small)), sorted(0..50));
        assert_eq!(sorted(report.take(bigs)), sorted((40..50).map(|n| n.to_string())));
    });
}

#[test]
fn what_a_failed_attempt_sent_to_a_port_is_not_seen() {
    everywhere(|executor| {
        let p = Pipeline::new("failed");
        let (port, flow) = p.inlet("port");
        p.source("in", 0..20).on(executor.place().skip(), |s| {
            s.router("route", (&port, &port), |n: i32, (one, two)| {
                one.emit(n);
                two.emit(n);
                if n % 5 == 0 { Err("after it sent".into()) } else { Ok(()) }
            })
        });
        let out = flow.collect("out");
        let expected = (0..20).filter(|n| n % 5 != 0).flat_map(|n| [n, n]);
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}

#[test]
fn a_port_may_have_several_consumers() {
    within("consumers", || {
        let p = Pipeline::new("consumers");
        let (port, flow) = p.inlet("port");
        p.source("in", 0..30).threads(2, |s| s.send_to(&port));
        let (left, right) = flow.tee();
        let (left, right) = (left.collect("left"), right.map("minus", |n: i32| -n).collect("right"));
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(left)), sorted(0..30));
        assert_eq!(sorted(report.take(right)), sorted((0..30).map(|n| -n)));
    });
}
