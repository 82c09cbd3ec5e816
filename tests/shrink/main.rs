//! What makes the release smaller (`scripts/shrink`): on a few lines of assembly, and on a program that is run before and after.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../scripts/shrink/main.rs"]
#[expect(dead_code, reason = "it is a program, and has a main")]
mod shrink;

/// Counts each instruction as so many bytes.
fn all_have(bytes: u8) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    move |text| Ok(vec![bytes; text.matches(".byte 2b-1b").count()])
}

/// A function as the compiler writes it.
fn function(name: &str, lines: &[&str]) -> String {
    let mut text = format!("\t.section\t.text.{name},\"ax\",@progbits\n\t.type\t{name},@function\n{name}:\n");
    for line in lines {
        text += &["\t", line, "\n"].concat();
    }
    text + &format!(".Lfunc_end_{name}:\n\t.size\t{name}, .Lfunc_end_{name}-{name}\n\n")
}

/// The instructions and labels of a function in a text.
fn lines_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let begin = text.lines().skip_while(|line| line.strip_suffix(':') != Some(name)).skip(1);
    begin
        .take_while(|line| !line.contains(".size") && !line.starts_with(".Lfunc_end"))
        .map(str::trim)
        .collect()
}

/// The first function that the name begins with.
fn piece(text: &str, begin: &str) -> String {
    let label = text.lines().find_map(|line| line.strip_suffix(':').filter(|name| name.starts_with(begin)));
    label.unwrap_or_else(|| panic!("there is no {begin} in:\n{text}")).to_owned()
}

fn shrunk(text: &str) -> String {
    shrink::shrunk(text, &|name| name == "kept", &rank, &all_have(4))
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Who is executed early, and far from that.
fn rank(name: &str) -> Option<usize> {
    ["first", "second"].iter().position(|hot| *hot == name).or((name == "late").then_some(1000))
}

/// Instructions that have nothing in common with those of another number.
fn own(number: usize) -> Vec<String> {
    vec![format!("movl ${number}, %eax"), "ud2".to_owned(), format!("addl ${number}, %ecx")]
}

/// Five functions with these lines within lines of their own.
fn five(lines: &[&str]) -> String {
    let mut text = String::new();
    for number in 0..5 {
        let own = own(number);
        let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
        all.extend(lines);
        if !lines.last().is_some_and(|last| *last == "retq" || last.starts_with("jmp")) {
            all.extend(own.iter().map(String::as_str).chain(["ud2"]));
        }
        text += &function(&format!("f{number}"), &all);
    }
    text
}

#[test]
fn what_calls_nobody_is_called() {
    let lines = ["movq %rdi, %r14", "addq $7, %rbx", "pushq $9", "popq\t%rcx"];
    let text = shrunk(&five(&lines));
    let name = piece(&text, "OUTLINED_FUNCTION_P");
    assert_eq!(lines_of(&text, &name), ["movq %rdi, %r14", "addq $7, %rbx", "pushq $9; popq %rcx", "retq"]);
    assert_eq!(text.matches(&format!("callq {name}\n")).count(), 5, "{text}");
}

#[test]
fn who_is_called_last_finds_the_stack_as_it_was() {
    // Nobody knows what is at the address, nor what `elsewhere` finds on the stack.
    for (call, jump) in [("callq elsewhere", "jmp elsewhere"), ("callq *24(%rax)", "jmpq *24(%rax)")] {
        let text = shrunk(&five(&["movq %rdi, %r14", "addq $7, %rbx", call]));
        let name = piece(&text, "OUTLINED_FUNCTION_T");
        assert_eq!(lines_of(&text, &name), ["movq %rdi, %r14", "addq $7, %rbx", jump]);
    }
}

#[test]
fn calls_in_between_find_the_stack_even_and_without_arguments() {
    let known = function("known", &["pushq %rbp", "movq %rsp, %rbp", "ud2"]);
    let wants = function("wants", &["pushq %rbp", "movq %rsp, %rbp", "movq 16(%rbp), %rax", "ud2"]);
    let passes = function("passes", &["jmp wants"]);
    let more = [
        function("may", &["testq %rax, %rax", "jne wants", "ud2"]),
        function("by_table", &["pushq %rbp", "movq %rsp, %rbp", "popq %rbp", "jmpq *24(%rax)"]),
        function("leads_on", &["jmp stranger"]),
        function("early", &["movq 8(%rsp), %rax", "pushq %rbp", "movq %rsp, %rbp", "ud2"]),
    ]
    .concat();
    let with = |callee: &str, rest: &[&str]| {
        let call = format!("callq {callee}");
        let mut lines = vec!["movq %rdi, %r14", &call, "movq %r15, %rdi", "addq $7, %rdi"];
        lines.extend(rest);
        shrunk(&[known.as_str(), &wants, &passes, &more, &five(&lines)].concat())
    };
    let text = with("known", &["callq other"]);
    let name = piece(&text, "OUTLINED_FUNCTION_F");
    let expected = [
        "pushq %rax",
        "movq %rdi, %r14",
        "callq known",
        "movq %r15, %rdi",
        "addq $7, %rdi",
        "popq %r11",
        "jmp other",
    ];
    assert_eq!(lines_of(&text, &name), expected);
    let text = with("memcpy", &[]);
    let name = piece(&text, "OUTLINED_FUNCTION_F");
    let expected = [
        "pushq %rax",
        "movq %rdi, %r14",
        "callq memcpy",
        "movq %r15, %rdi",
        "addq $7, %rdi",
        "popq %r11",
        "retq",
    ];
    assert_eq!(lines_of(&text, &name), expected);
    let callees =
        ["wants", "passes", "stranger", "*%rdx", "*24(%r11)", "may", "by_table", "leads_on", "early"];
    let others = [("known", vec!["movq %r11, %rcx"]), ("known", vec!["callq *24(%r11)"])];
    for (callee, rest) in callees.map(|callee| (callee, vec![])).into_iter().chain(others) {
        let text = with(callee, &rest);
        for name in
            text.lines().filter_map(|line| line.strip_suffix(':')).filter(|name| name.contains("FUNCTION_F"))
        {
            let lines = lines_of(&text, name);
            assert!(
                !lines.iter().any(|line| line.contains(&format!("callq {callee}")) && rest.is_empty()),
                "{callee}: {lines:?}"
            );
            assert!(
                !lines.iter().any(|line| line.contains("%r11,") || line.contains("(%r11)")),
                "{callee}: {lines:?}"
            );
        }
    }
}

#[test]
fn pieces_are_as_their_last_call() {
    // The call of the first piece is the call of somebody who finds arguments on the stack.
    let lines = [
        "movq %rdi, %r14",
        "addq $7, %rbx",
        "callq stranger",
        "movq %r15, %rdi",
        "addq $9, %rdi",
        "incq %rdi",
    ];
    let text = shrunk(&five(&lines));
    let thunk = piece(&text, "OUTLINED_FUNCTION_T");
    assert_eq!(lines_of(&text, &thunk).last(), Some(&"jmp stranger"));
    assert!(!text.contains("FUNCTION_F"), "{text}");
}

#[test]
fn what_a_piece_does_with_r11_counts() {
    let uses = ["movq %r11, %rax", "addq $7, %rax", "xorl %edx, %edx"];
    let calls = [&["incq %rdi", "callq memcpy"][..], &uses, &["incq %rsi", "decq %rbx"]].concat();
    let alone: String = (10..30)
        .map(|number| {
            let own = own(number);
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            function(&format!("g{number}"), &[&own, &uses[..], &own, &["ud2"]].concat())
        })
        .collect();
    let text = shrunk(&[five(&calls), alone].concat());
    let name = piece(&text, "OUTLINED_FUNCTION_P");
    assert_eq!(lines_of(&text, &name), [&uses[..], &["retq"]].concat());
    assert!(!text.contains("FUNCTION_F"), "{text}");
}

#[test]
fn the_stack_is_minded_only_where_a_function_ends() {
    let lines = ["movq %rdi, %r14", "movq %rsp, %rdx", "addq $7, %rbx", "addq $24, %rsp", "popq %r12"];
    let text = shrunk(&five(&lines));
    assert!(!text.contains("OUTLINED"), "{text}");
    let text = shrunk(&five(&[&lines[..], &["retq"]].concat()));
    let name = piece(&text, "OUTLINED_FUNCTION_E");
    assert_eq!(lines_of(&text, &name), [&lines[..], &["retq"]].concat());
    // It lies behind one of the five.
    assert_eq!(text.matches(&format!("jmp {name}\n")).count(), 4, "{text}");
}

#[test]
fn some_things_stay_where_they_are() {
    for line in [
        "syscall",
        "pushq %rdi; popq %rcx; ud2",
        "je .LBB0_1",
        "ud2",
        "lock decq (%rax)",
        "movq .LJTI3(,%rax,8), %rax",
        "movq %fs:0, %rax",
        "whatever %rax",
    ] {
        let text = shrunk(&five(&["movq %rdi, %r14", line, "addq $7, %rbx"]));
        assert!(!text.contains("OUTLINED"), "{line}: {text}");
    }
    let text = function(
        "kept",
        &["pushq %rbp", "movq %rsp, %rbp", "movq %rdi, %r14", "addq $8, %rbx", "popq %rbp", "retq"],
    );
    let again = text.replace("kept", "other");
    let text = shrunk(
        &[text.as_str(), &text.replace("kept", "one"), &again, &again.replace("other", "third")].concat(),
    );
    assert_eq!(lines_of(&text, "kept").len(), 6, "{text}");
}

#[test]
fn begins_return_to_where_they_were_called() {
    let lines = ["pushq %rbp", "movq %rsp, %rbp", "pushq %rbx", "subq $24, %rsp", "movq %rdi, %r14"];
    // What is called there is no begin, and the call of the begin no part of what follows it.
    let more = ["movq %r11, %rdx", "callq known", "incq %rdx", "callq known"];
    let text: String = (0..9)
        .map(|number| {
            let own = own(number);
            let all: Vec<&str> =
                lines.iter().copied().chain(more).chain(own.iter().map(String::as_str)).collect();
            function(&format!("f{number}"), &all)
        })
        .collect();
    let text = shrunk(&text);
    let name = piece(&text, "OUTLINED_FUNCTION_B");
    let expected = [
        "popq %r11",
        "pushq %rbp",
        "leaq -128(%rsp), %rbp",
        "pushq %rbx",
        "subq $24, %rsp",
        "movq %rdi, %r14",
        "pushq %r11",
        "retq",
    ];
    assert_eq!(lines_of(&text, &name), expected);
    assert!(
        (0..9).all(|number| lines_of(&text, &format!("f{number}"))[0] == format!("callq {name}")),
        "{text}"
    );
}

#[test]
fn frames_get_the_next_size_that_there_is() {
    let with_room = |name: &str, room: usize, inner: &[&str]| {
        let (make, give) = (format!("subq ${room}, %rsp"), format!("addq ${room}, %rsp"));
        let mut lines = vec!["pushq %rbp", "movq %rsp, %rbp", "pushq %r14", "pushq %rbx", &make];
        lines.extend(inner);
        lines.extend([&give, "popq %rbx", "popq %r14", "popq %rbp", "retq"]);
        function(name, &lines)
    };
    let minds = ["movq %rax, (%rsp)", "callq other", "addq $1, %rax"];
    let text = [
        with_room("kept", 32, &["ud2"]),
        with_room("small", 32, &["leaq -32(%rbp), %rax", "ud2"]),
        with_room("middle", 48, &["ud2", "movq 16(%rbp), %rdx"]),
        with_room("large", 4000, &["ud2"]),
        with_room("minds", 32, &minds),
        with_room("odd", 1000, &["ud2"]),
        with_room("leads", 32, &["jmpq *%rcx"]),
        with_room("goes", 32, &["jmp other"]),
        with_room("other_room", 32, &["ud2"]).replace("addq $32", "addq $40"),
        // In each a register less.
        function(
            "none",
            &["pushq %rbp", "movq %rsp, %rbp", "pushq %r12", "ud2", "popq %r12", "popq %rbp", "retq"],
        ),
        function(
            "word",
            &[
                "pushq %rbp",
                "movq %rsp, %rbp",
                "pushq %r12",
                "pushq %rax",
                "ud2",
                "addq $8, %rsp",
                "popq %r12",
                "popq %rbp",
                "retq",
            ],
        ),
    ]
    .concat();
    let text = shrink::shrunk(&text, &|name| name == "kept", &rank, &all_have(1)).expect("it is known");
    let end = ["leaq 112(%rbp), %rsp", "popq %rbx", "popq %r14", "popq %rbp", "retq"];
    assert!(!lines_of(&text, "none").iter().any(|line| line.ends_with(", %rsp")), "{text}");
    for (name, give) in [("leads", 32), ("goes", 32), ("other_room", 40)] {
        assert!(lines_of(&text, name).contains(&format!("addq ${give}, %rsp").as_str()), "{name}: {text}");
    }
    let small = ("small", 48, "leaq 96(%rbp), %rax");
    for (name, room, first) in [small, ("middle", 48, "ud2"), ("large", 4000, "ud2"), ("odd", 1008, "ud2")] {
        let lines = lines_of(&text, name);
        assert_eq!(lines[..2], ["pushq %rbp", "leaq -128(%rsp), %rbp"], "{text}");
        assert_eq!(lines[4], format!("subq ${room}, %rsp"));
        assert_eq!(lines[5], first);
        assert_eq!(lines[lines.len() - 5..], end);
    }
    assert!(text.contains("movq 144(%rbp), %rdx"), "arguments on the stack: {text}");
    assert!(lines_of(&text, "minds").contains(&"addq $32, %rsp"), "{text}");
    assert!(lines_of(&text, "kept").contains(&"addq $32, %rsp"), "{text}");
}

/// A function that saves these registers and makes this room, with these lines within.
fn framed(name: &str, saved: &[&str], room: usize, inner: &[&str]) -> String {
    let mut lines: Vec<String> = vec!["pushq %rbp".to_owned(), "movq %rsp, %rbp".to_owned()];
    lines.extend(saved.iter().map(|register| format!("pushq {register}")));
    lines.push(format!("subq ${room}, %rsp"));
    // It is like no other.
    lines.push(format!("movl ${}, %edx", name.bytes().map(u32::from).sum::<u32>()));
    lines.extend(inner.iter().map(|line| (*line).to_owned()));
    lines.push(format!("addq ${room}, %rsp"));
    lines.extend(saved.iter().rev().map(|register| format!("popq {register}")));
    lines.extend(["popq %rbp".to_owned(), "retq".to_owned()]);
    function(name, &lines.iter().map(String::as_str).collect::<Vec<&str>>())
}

#[test]
fn saved_registers_change_places_for_what_others_have() {
    let saved = ["%r15", "%r14", "%rbx"];
    let lines = [
        "ud2",
        "movl %esi, %r14d",
        "addq $7, %rbx",
        "testb %r15b, %r14b",
        "pushq $9; popq %rbx",
        "pushq %rbx; popq %rdx",
        "movw %r14w, 8(%rbx,%r15,2)",
        "ud2",
    ];
    // Around in a circle; a name that begins as another is none of them.
    let turned = |line: &str| {
        let names = [("%r14", "%A"), ("%r15", "%B"), ("%rbx", "%r15"), ("%A", "%rbx"), ("%B", "%r14")];
        let line = names.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        line.replace("%rbxd", "%ebx").replace("%rbxw", "%bx").replace("%rbxb", "%bl")
    };
    let other: Vec<String> = lines.iter().map(|line| turned(line)).collect();
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    assert_eq!(
        other[3..7],
        ["testb %r14b, %bl", "pushq $9; popq %r15", "pushq %r15; popq %rdx", "movw %bx, 8(%r15,%r14,2)"]
    );
    let text: String = (0..5).map(|number| framed(&format!("f{number}"), &saved, 24, &lines)).collect();
    let odd = [&other[..], &["movb %ah, %bl"]].concat();
    // It may take registers that it does not name.
    let unnamed = [&other[..], &["mwaitx"]].concat();
    let more = [
        framed("other", &saved, 24, &other),
        framed("high", &saved, 24, &odd),
        framed("unnamed", &saved, 24, &unnamed),
        // What is not saved is not the function's own.
        framed("fewer", &["%r14", "%rbx"], 24, &other),
        framed("kept", &saved, 24, &other),
    ];
    let text = shrunk(&[text, more.concat()].concat());
    let name = piece(&text, "OUTLINED_FUNCTION_P");
    assert_eq!(lines_of(&text, &name), [&lines[1..7], &["retq"]].concat());
    let call = format!("callq {name}");
    for at in (0..5).map(|number| format!("f{number}")).chain(["other".to_owned()]) {
        assert!(lines_of(&text, &at).contains(&call.as_str()), "{at}: {text}");
    }
    for at in ["high", "unnamed", "fewer", "kept"] {
        assert!(!lines_of(&text, at).contains(&call.as_str()), "{at}: {text}");
    }
    let kept = lines_of(&text, "kept");
    assert!(other.iter().all(|line| kept.contains(line)), "{text}");
    assert_eq!(kept[kept.len() - 5..], ["popq %rbx", "popq %r14", "popq %r15", "popq %rbp", "retq"]);
}

#[test]
fn what_lies_in_a_frame_goes_down_to_where_others_have_it() {
    let inner = |to: i64, more: &'static str| {
        let lines = [
            "ud2".to_owned(),
            format!("leaq {}(%rbp), %rdi", -40 - to),
            format!("movl %ecx, {}(%rbp)", -32 - to),
            format!("incq {}(%rbp)", -24 - to),
            "ud2".to_owned(),
            more.to_owned(),
        ];
        lines.map(|line| line.leak() as &str)
    };
    for (saved, back) in [(&["%r14", "%rbx"][..], "leaq 112(%rbp), %rsp"), (&[], "addq $64, %rsp")] {
        let deep = inner(32, "movl %edi, 16(%rbp)");
        let text: String = (0..5).map(|number| framed(&format!("f{number}"), saved, 64, &deep)).collect();
        let more = [
            framed("higher", saved, 32, &inner(0, "movl 24(%rbp), %eax")),
            framed("array", saved, 32, &inner(0, "movl %ecx, -48(%rbp,%rax,4)")),
            // There is no room; it is to stay.
            framed("far", saved, 64, &inner(64, "ud2")),
            framed("kept", saved, 64, &inner(0, "ud2")),
        ];
        // Where it is is reckoned; counted from where it is not, perhaps.
        for line in ["leaq (%rax,%rbp), %rcx", "movb 1(%rbp,%rax), %al"] {
            let text = shrunk(&[text.as_str(), &framed("stays", saved, 32, &inner(0, line))].concat());
            assert!(lines_of(&text, "stays").contains(&"leaq 88(%rbp), %rdi"), "{line}: {text}");
        }
        let text = shrunk(&[text, more.concat()].concat());
        let name = piece(&text, "OUTLINED_FUNCTION_P");
        let expected = ["leaq 56(%rbp), %rdi", "movl %ecx, 64(%rbp)", "incq 72(%rbp)", "retq"];
        assert_eq!(lines_of(&text, &name), expected);
        let has = |at: &str| lines_of(&text, at).contains(&format!("callq {name}").as_str());
        assert!((0..5).all(|number| has(&format!("f{number}"))) && has("higher"), "{text}");
        assert!(!has("far") && !has("kept"), "{text}");
        // What the caller has put on the stack stays; there is room, which is given back.
        let higher = lines_of(&text, "higher").join("\n");
        assert!(higher.contains("movl 152(%rbp), %eax"), "{text}");
        assert!(has("array") && text.contains("movl %ecx, 48(%rbp,%rax,4)"), "{text}");
        assert!(!text.contains("$32, %rsp"), "{text}");
        let gives_back = |line: &&str| {
            line.starts_with("\tadd") && line.ends_with(", %rsp") || line.ends_with("(%rbp), %rsp")
        };
        let backs: Vec<&str> = text.lines().filter(gives_back).map(str::trim).collect();
        assert!(backs.contains(&back), "{text}");
        assert!(backs.iter().all(|other| [back, "addq $64, %rsp"].contains(other)), "{text}");
    }
}

#[test]
fn some_values_go_by_the_stack() {
    for (code, shorter) in [
        ("movq %rdi, %rbx", "pushq %rdi; popq %rbx"),
        ("movq $-128, 8(%r12)", "pushq $-128; popq 8(%r12)"),
        ("movq $7, place", "pushq $7; popq place"),
    ] {
        let text = shrunk(&[function("f", &[code]), function("kept", &[code])].concat());
        assert_eq!((lines_of(&text, "f"), lines_of(&text, "kept")), (vec![shorter], vec![code]), "{text}");
    }
    for code in [
        "movq %rdi, %r14",
        "movq %r8, %rdi",
        "movq %rsp, %rdi",
        "movl %edi, %ebx",
        "movq $128, 8(%rax)",
        "movq $7, 8(%rsp)",
        "movq $7, (%esp)",
        "movq $7, 8(%rsp,%rax)",
        "movq $7, %fs:8",
        "movq $7, %rax",
        "movq $place, 8(%rax)",
        "movl $7, 8(%rax)",
        "movq (%rdi), %rbx",
    ] {
        assert_eq!(lines_of(&shrunk(&function("f", &[code])), "f"), [code]);
    }
}

#[test]
fn functions_that_are_the_same_are_there_once() {
    let table = "\t.section\t.rodata.f,\"a\",@progbits\n.LJTI9_0:\n\t.quad\t.LBB9_1\n";
    let branch = |name: &str, number: usize, callee: &str| {
        let jump = format!("jne .LBB{number}_2");
        let call = format!("callq {callee}");
        function(name, &[&jump, &call, "ud2"])
            .replace("\tud2", &format!("\tincq .Lanon.{name}(%rax)\n.LBB{number}_2:\n\tretq"))
    };
    let by_table = |name: &str| function(name, &["jmpq *.LJTI9_0(,%rax,8)"]);
    let text = [
        // Known to be the same when those that they call are.
        branch("a", 3, "c"),
        branch("b", 4, "first"),
        function("c", &["movl $1, %eax", "retq"]),
        function("first", &["movl $1, %eax", "retq"]),
        function("kept", &["movl $1, %eax", "retq"]),
        function("differs", &["movl $2, %eax", "retq"]),
        branch("other", 5, "differs"),
        by_table("t"),
        by_table("u"),
        table.to_owned(),
        "\t.section\t.rodata.x,\"a\",@progbits\n.Lanon.a:\n\t.ascii\t\"abc\"\n\t.size\t.Lanon.a, 3\n"
            .to_owned(),
        "\t.section\t.rodata.y,\"a\",@progbits\n.Lanon.b:\n\t.ascii\t\"abc\"\n\t.size\t.Lanon.b, 3\n"
            .to_owned(),
    ]
    .concat();
    let text = shrunk(&text);
    let set: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("\t.set\t")).collect();
    // The one that is executed early stays.
    assert_eq!(set, ["b, a", "c, first", ".Lanon.b, .Lanon.a+0"], "{text}");
    for name in ["a", "first", "kept", "differs", "other", "t", "u"] {
        assert!(!lines_of(&text, name).is_empty(), "{name}: {text}");
    }
    assert!(!text.contains("\nb:") && !text.contains("\nc:"), "{text}");
    assert!(!text.contains("\t.size\tb,") && !text.contains("\t.size\tc,"), "{text}");
}

/// The functions in the order in which they lie, a line for each section.
fn places(text: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("\t.section\t") {
            sections.push(String::new());
        } else if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with('.'))
            && let Some(section) = sections.last_mut()
        {
            *section += &[if section.is_empty() { "" } else { " " }, name].concat();
        }
    }
    sections.retain(|section| !section.is_empty());
    sections
}

#[test]
fn what_ends_in_a_jump_lies_before_the_place_where_it_leads() {
    let one = |name: &str, to: &str| {
        let own = format!("movl ${}, %eax", name.bytes().map(u32::from).sum::<u32>());
        function(name, &[&own, "ud2", &format!("jmp {to}")])
    };
    let all = [
        one("a", "third"),
        one("b", "a"),
        // In a circle.
        one("third", "b"),
        // Behind one only; elsewhere; by a register; to itself; what may not begin anywhere; what is to stay.
        one("d", "a"),
        one("e", "stranger"),
        function("f", &["movl $99, %eax", "ud2", "jmp *%rax"]),
        one("self", "self"),
        one("g", "aligned"),
        one("aligned", "outside").replace("\naligned:", "\n\t.p2align\t4\naligned:"),
        one("h", "kept"),
        one("kept", "g"),
        // What is executed early lies with its like.
        one("first", "second"),
        function("second", &["movl $98, %eax", "ud2", "jmp late"]),
        function("late", &["movl $97, %eax", "ud2", "retq"]),
        one("i", "first"),
        one("last", "kept"),
    ];
    let far = vec!["hlt"; 60];
    let text: String =
        all.iter().map(|one| one.replace("\tud2", &["\t", &far.join("\n\t")].concat())).collect();
    let text = shrunk(&text);
    let expected = [
        "b a third",
        "d",
        "e",
        "f",
        "self",
        "g",
        "aligned",
        "h",
        "kept",
        "first second",
        "late",
        "i",
        "last",
    ];
    assert_eq!(places(&text), expected, "{text}");
    assert!(
        !lines_of(&text, "b").contains(&"jmp a") && !lines_of(&text, "a").contains(&"jmp third"),
        "{text}"
    );
    let jumps: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("\tjmp ")).collect();
    let left =
        ["b", "a", "stranger", "*%rax", "self", "aligned", "outside", "kept", "g", "late", "first", "kept"];
    assert_eq!(jumps, left, "{text}");
    // Where one ends and the next one begins.
    let whole = text.lines().skip_while(|line| *line != "b:").take_while(|line| *line != "third:");
    let ends: Vec<&str> = whole.filter(|line| !line.starts_with("\tmov") && *line != "\thlt").collect();
    assert_eq!(
        ends,
        [
            "b:",
            ".Lfunc_end_b:",
            "\t.size\tb, .Lfunc_end_b-b",
            "\t.type\ta,@function",
            "a:",
            ".Lfunc_end_a:",
            "\t.size\ta, .Lfunc_end_a-a",
            "\t.type\tthird,@function"
        ]
    );
}

#[test]
fn only_what_is_all_of_its_section_is_moved_or_folded() {
    let two = [
        function("a", &["movl $1, %eax", "jmp b"]),
        function("b", &["movl $2, %eax", "retq"]),
        function("c", &["movl $2, %eax", "retq"]),
    ];
    let with =
        |change: &dyn Fn(&str) -> String| shrunk(&[two[0].clone(), change(&two[1]), two[2].clone()].concat());
    let text = with(&str::to_owned);
    assert_eq!(places(&text), ["a b"], "{text}");
    assert!(text.contains("\t.set\tc, b\n"), "{text}");
    let label = "\nb:\n";
    for (from, to) in [
        (label, "\n\t.long\t7\nb:\n"),
        (label, "\n\t.balign\t16\nb:\n"),
        (label, "\n\t.weak\tb\nb:\n"),
        (label, "\n\t.section\t.text.unlikely.b,\"ax\",@progbits\nb:\n"),
        (label, "\nprefix:\nb:\n"),
        ("@progbits\n", "@progbits,b,comdat\n"),
        ("\"ax\"", "\"axw\""),
        ("retq", "syscall"),
        ("\tretq", "\t.byte\t243\n\tretq"),
        ("\t.size", "\t.long\t7\n\t.size"),
        ("-b\n", "-b\nlater:\n"),
        ("\t.size\tb, .Lfunc_end_b-b\n", ""),
    ] {
        assert!(two[1].contains(from), "{from:?}");
        let text = with(&|b| b.replacen(from, to, 1));
        let places = places(&text);
        assert!(places.contains(&"a".to_owned()) && places.contains(&"c".to_owned()), "{to:?}: {text}");
        assert!(text.contains("jmp b\n") && !text.contains(".set"), "{to:?}: {text}");
    }
    // What can be written is no function, whatever its section is called.
    let data = |name: &str| {
        format!("\t.section\t.data.text.{name},\"aw\",@progbits\n{name}:\n\t.long\t7\n\t.size\t{name}, 4\n")
    };
    let text = [data("one"), data("two")].concat();
    assert_eq!(shrunk(&text), text);
}

#[test]
fn small_functions_lie_beside_others_that_lead_to_the_same_place() {
    let one = |name: &str, number: usize, fill: usize, to: &str| {
        let first = format!("movl ${number}, %eax");
        let jump = format!("jmp {to}");
        function(name, &[&[first.as_str()], &vec!["hlt"; fill][..], &[jump.as_str()]].concat())
    };
    let text = shrunk(
        &[
            one("a", 1, 2, "stranger"),
            one("large", 2, 60, "stranger"),
            one("b", 3, 4, "stranger"),
            // Behind the place, as one is before it already and goes on in it.
            function("place", &["movl $4, %eax", "incq %rcx", "retq"]),
            one("goes", 5, 60, "place"),
            one("c", 6, 3, "place"),
            one("second", 7, 2, "stranger"),
        ]
        .concat(),
    );
    assert_eq!(places(&text), ["large a b", "goes place c", "second"], "{text}");
    // They go by the jump of the first.
    let label =
        lines_of(&text, "a").last().and_then(|line| line.strip_prefix("jmp .Lgoback")).map(str::to_owned);
    let label = label.unwrap_or_else(|| panic!("{text}"));
    assert!(text.contains(&format!(".Lgoback{label}:\n\tjmp stranger\n.Lfunc_end_large:")), "{text}");
    assert_eq!(text.matches(&format!("jmp .Lgoback{label}\n")).count(), 2, "{text}");
    assert_eq!(text.matches("jmp stranger\n").count(), 2, "{text}");
}

#[test]
fn the_frame_pointer_is_lowered_everywhere_or_nothing_is_written() {
    let with = |code: &str| {
        shrink::shrunk(
            &function("f", &["pushq %rbp", "movq %rsp, %rbp", code, "ud2"]),
            &|_| false,
            &rank,
            &all_have(4),
        )
    };
    for (code, lowered) in [
        ("movq (%rbp), %rax", "movq 128(%rbp), %rax"),
        ("movq -128(%rbp), %rax", "movq (%rbp), %rax"),
        ("movb $1, -200(%rbp,%rcx,2)", "movb $1, -72(%rbp,%rcx,2)"),
        ("callq *-8(%rbp)", "callq *120(%rbp)"),
        ("leaq (%rsi,%rbp), %r8", "leaq 128(%rsi,%rbp), %r8"),
        ("addq %rbp, %rsi", "leaq 128(%rsi,%rbp), %rsi"),
        ("rep;movsb (%rsi), %es:(%rdi)", "rep;movsb (%rsi), %es:(%rdi)"),
    ] {
        let text = with(code).expect(code);
        assert_eq!(lines_of(&text, "f")[2], lowered);
    }
    for code in [
        "leave",
        "movq 8(%rax), %rbp",
        "leaq 8(%rsp), %rbp",
        "cmpq 8(%rax), %rbp",
        "leaq (%rax,%rbp,2), %rcx",
        "movl %ebp, %eax",
        "movb %bpl, %al",
        "pushq %rbp",
    ] {
        let error = with(code).expect_err(code);
        assert!(error.contains(code), "{error}");
    }
    let sum = ["pushq %rbp", "movq %rsp, %rbp", "addq %rbp, %rsi", "movq %rsi, %rax", "jb .LBB0_1", "ud2"];
    let error = shrink::shrunk(&function("f", &sum), &|_| false, &rank, &all_have(4))
        .expect_err("a condition by the sum");
    assert!(error.contains("f: ") && error.contains("addq %rbp, %rsi"), "{error}");
    for code in ["movq %rbp, %rax", "subq %rbp, %rax", "movq .Ltable(,%rbp,8), %rax", "xchgq %rbp, %rax"] {
        let error = with(code).expect_err(code);
        assert!(error.contains(code), "{error}");
    }
    for code in ["movq %rdi, %rbp", "movl %ebp, %eax"] {
        let error =
            shrink::shrunk(&function("g", &["pushq %rbp", code, "ud2"]), &|_| false, &rank, &all_have(4))
                .expect_err(code);
        assert!(error.contains("g uses the frame pointer's register"), "{error}");
    }
    for text in [
        "\tmovq %rax, %rbx\n".to_owned(),
        function("OUTLINED_FUNCTION_3", &["retq"]),
        function("f", &["ud2"]).replace("\tud2", "  ud2"),
        // Another one would be the nearest.
        function("f", &["jne 2b", "ud2"]),
        function("f", &["jmp .+4", "ud2"]),
    ] {
        shrink::shrunk(&text, &|_| false, &rank, &all_have(4)).expect_err(&text);
    }
    let error = with(".cfi_def_cfa_offset 16").expect_err("tables for unwinding");
    assert!(error.contains(".cfi_def_cfa_offset"), "{error}");
}

#[test]
fn far_jumps_go_by_near_ones_to_the_same_place() {
    let mut lines = vec!["je .LBB0_9", "ud2", "jne .LBB0_9", "je .LBB0_9", "jmp *%rax", "jmp other"];
    lines.extend(["hlt"; 60]);
    lines.extend(["jae .LBB0_9", "je .LBB0_9", "jmp .LBB0_9", "jmp other"]);
    lines.extend(["hlt"; 40]);
    let mut text =
        function("f", &lines).replace(".Lfunc_end_f:", ".LBB0_9:\n\tretq\n\tje .LBB0_9\n.Lfunc_end_f:");
    text = shrunk(&text);
    let found = lines_of(&text, "f");
    let found: Vec<&str> = found.into_iter().filter(|line| !["hlt", "ud2"].contains(line)).collect();
    let expected = [
        ".Lgoback0_0:",
        "je .LBB0_9",
        "jne .LBB0_9",
        "je .Lgoback0_0",
        "jmp *%rax",
        // 240 bytes away from the next one.
        "jmp other",
        // An unconditional one behind serves all.
        "jae .Lgoon0_69",
        "je .Lgoon0_69",
        ".Lgoon0_69:",
        "jmp .LBB0_9",
        "jmp other",
        ".LBB0_9:",
        "retq",
        "je .LBB0_9",
    ];
    assert_eq!(found, expected, "{text}");
}

#[test]
fn constants_lie_within_others() {
    let constant = |name: &str, flags: &str, rest: &str| {
        format!(
            "\t.section\t.rodata.{name},{flags},@progbits\n.Lanon.{name}:\n{rest}\t.size\t.Lanon.{name}, 1\n"
        )
    };
    let text = [
        constant("part", "\"aM\"", "\t.ascii\t\"b\\\"\\303\"\n"),
        // The linker puts these together with others: nothing else may lie in them.
        constant("merged", "\"aM\"", "\t.ascii\t\"cc and more\"\n"),
        constant("whole", "\"a\"", "\t.ascii\t\"ab\\\"\\303\\274c\"\n"),
        constant("same", "\"a\"", "\t.ascii\t\"ab\\\"\\303\\274c\"\n"),
        constant("zero", "\"a\"", "\t.asciz\t\"c\"\n"),
        constant("apart", "\"a\"", "\t.ascii\t\"cc\"\n"),
        constant("even", "\"a\"", "\t.p2align\t3, 0x0\n\t.ascii\t\"ab\"\n"),
        constant("address", "\"a\"", "\t.quad\t.Lanon.part\n"),
        // The compiler writes the section once for several.
        constant("first", "\"aM\"", "\t.ascii\t\"ab\"\n"),
        ".Lanon.second:\n\t.ascii\t\"x\\000y\"\n\t.size\t.Lanon.second, 3\n".to_owned(),
    ]
    .concat();
    let text = shrunk(&text);
    let set =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("\t.set\t.Lanon.{name}, ")));
    assert_eq!(set("part"), Some(".Lanon.whole+1"), "{text}");
    // Of two that are the same the later one, as texts keep the order of the file.
    assert_eq!(set("same"), Some(".Lanon.whole+0"), "{text}");
    let sections: Vec<&str> = text.lines().filter(|line| line.contains(".section")).collect();
    assert_eq!((sections.len(), sections[8]), (9, "\t.section\t.rodata.first,\"aM\",@progbits"), "{text}");
    assert!(text.ends_with("\t.set\t.Lanon.first, .Lanon.whole+0\n.Lanon.second:\n\t.ascii\t\"x\\000y\"\n\t.size\t.Lanon.second, 3\n"), "{text}");
    for name in ["whole", "merged", "zero", "apart", "even", "address"] {
        assert_eq!(set(name), None, "{text}");
        assert!(text.contains(&format!(".Lanon.{name}:\n")), "{text}");
    }
}

#[test]
fn tables_that_are_the_same_are_there_once() {
    let table = |label: &str, align: &str, last: &str| {
        format!(
            "\t.section\t.rodata.{label},\"a\",@progbits\n{align}{label}:\n\t.quad\tone\n\t.quad\t{last}\n\t.size\t{label}, 16\n"
        )
    };
    let even = "\t.p2align\t3, 0x0\n";
    let text = [
        table(".Lswitch.table.a", even, "two"),
        table(".Lanon.b", even, "two"),
        table(".Lanon.c", even, "three"),
        table(".Lanon.d", "", "two"),
        table("named", even, "two"),
    ]
    .concat();
    let text = shrunk(&text);
    let set: Vec<&str> = text.lines().filter(|line| line.contains(".set")).collect();
    assert_eq!(set, ["\t.set\t.Lanon.b, .Lswitch.table.a"], "{text}");
    assert_eq!(text.matches(".section").count(), 5, "{text}");
    assert_eq!(text.matches("\t.quad\ttwo").count(), 3, "{text}");
}

#[test]
fn tables_of_jumps_have_four_bytes_for_each() {
    let table = |number: usize| {
        format!(
            "\t.section\t.rodata.f,\"a\",@progbits\n\t.p2align\t3, 0x0\n.LJTI{number}_0:\n\t.quad\t.LBB{number}_1\n\t.quad\t.LBB{number}_2\n"
        )
    };
    let jump = |number: usize| format!("jmpq *.LJTI{number}_0(,%rax,8)");
    let twice = [jump(3), jump(3)];
    let text = [
        function("f", &["ud2", &jump(1)]),
        function("has", &["movq %r11, %rdx", &jump(2)]),
        function("twice", &[&twice[0], &twice[1]]),
        function("kept", &[&jump(4)]),
        (1..=4).map(table).collect::<String>(),
        "\t.section\t.rodata.other\nother:\n\t.quad\t1\n".to_owned(),
    ]
    .concat();
    let text = shrunk(&text);
    assert_eq!(lines_of(&text, "f"), ["ud2", "movl .LJTI1_0(,%rax,4), %r11d", "jmpq *%r11"]);
    assert!(text.contains(".LJTI1_0:\n\t.long\t.LBB1_1\n\t.long\t.LBB1_2\n"), "{text}");
    assert_eq!(lines_of(&text, "has")[1], jump(2));
    assert_eq!(lines_of(&text, "twice"), twice);
    assert_eq!(lines_of(&text, "kept"), [jump(4)]);
    assert_eq!((text.matches(".long").count(), text.matches(".quad").count()), (2, 7), "{text}");
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that must not fail, and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn a_program_does_what_it_did_before() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let required = std::env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "this must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but it needs x86-64");
        eprintln!("SKIPPED: scripts/shrink is for x86-64");
        return;
    }
    let folder =
        Folder(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("shrink-{}", std::process::id())));
    fs::create_dir_all(&folder.0).expect("a folder");
    let file = |name: &str| folder.0.join(name).into_os_string().into_string().expect("a name in UTF-8");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shrunk.rs");
    let compile = |more: &[&str]| {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition=2024", "-Cpanic=abort", "-Copt-level=z", "-Cforce-unwind-tables=no"]);
        command.args([
            "-Cforce-frame-pointers=yes",
            "-Cno-redzone=yes",
            "-Crelocation-model=static",
            "-Ccodegen-units=1",
        ]);
        command.args(more).arg(&source);
        run(&mut command);
    };
    compile(&["--emit=asm", "-o", &file("before.s")]);
    compile(&["-o", &file("before")]);
    let before = fs::read_to_string(file("before.s")).expect("assembly");
    // Tables for unwinding through what might panic. Nothing does.
    let before: String =
        before.lines().filter(|line| !line.contains(".cfi_")).flat_map(|line| [line, "\n"]).collect();
    let tools = ["objcopy", "cc", "-c"].map(str::to_owned);
    let after =
        shrink::shrunk(&before, &|_| false, &rank, &|text| shrink::measured(&tools, &file("after.s"), text));
    let after = after.expect("it is what the compiler wrote");
    for kind in "EPTFB".chars() {
        assert!(after.contains(&format!("\nOUTLINED_FUNCTION_{kind}")), "no piece of this kind: {kind}");
    }
    fs::write(file("after.s"), &after).expect("a file");
    // As scripts/build-musl does: in the place of the object that the compiler has made.
    let linker = format!(
        "#!/bin/sh\nfor argument; do\n\tshift\n\tcase $argument in *shrunk.*.rcgu.o) argument={} ;; esac\n\tset -- \"$@\" \"$argument\"\ndone\nexec cc \"$@\"\n",
        file("after.o")
    );
    run(Command::new("cc").args(["-c", "-o", &file("after.o"), &file("after.s")]));
    fs::write(file("linker"), linker).expect("a file");
    run(Command::new("chmod").args(["+x", &file("linker")]));
    compile(&["-o", &file("after"), &format!("-Clinker={}", file("linker"))]);
    let code = |name: &str| {
        let sections = run(Command::new("size").args(["-A", &file(name)]));
        let text = sections
            .lines()
            .find_map(|line| line.strip_prefix(".text ")?.split_whitespace().next()?.parse::<usize>().ok());
        text.expect("a section with code")
    };
    assert!(code("after") < code("before"), "{} bytes of code, {} before", code("after"), code("before"));
    let (expected, found) = (run(&mut Command::new(file("before"))), run(&mut Command::new(file("after"))));
    assert!(expected.lines().count() > 100, "{expected}");
    assert_eq!(found, expected);
}
