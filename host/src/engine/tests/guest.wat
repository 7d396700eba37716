;; A guest by hand: `handle` acts on the first letter of the handler's name.
(module
  (import "keystead:entity/state@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "set" (func $set (param i32 i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "keystead:entity/context@0.1.0" "attempt" (func $attempt (result i32)))
  (import "keystead:entity/outbox@0.1.0" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "keystead:entity/outbox@0.1.0" "call-then"
    (func $call_then
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32)))
  (import "keystead:entity/callbacks@0.1.0" "create"
    (func $create (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "keystead:entity/callbacks@0.1.0" "cancel" (func $withdraw (param i32 i32) (result i32)))
  (import "keystead:entity/log@0.1.0" "emit" (func $emit (param i32 i32 i32)))
  (import "keystead:entity/log@0.1.0" "panicked" (func $panicked (param i32 i32)))

  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (global $calls (mut i32) (i32.const 0))
  (global $sp (mut i32) (i32.const 8192))
  ;; 0: return area; 256: texts; 16384: the document
  (data (i32.const 256) "key")
  (data (i32.const 272) "went wrong on purpose")
  (data (i32.const 304) "no_luck")
  (data (i32.const 320) "not today")
  (data (i32.const 336) "other")
  (data (i32.const 352) "{\"why\":1}")
  (data (i32.const 16384) "DOCUMENT")

  (func (export "cabi_realloc") (param $old i32) (param i32 i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (loop $more
        (br_if $enough
          (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (drop (memory.grow (i32.const 16)))
        (br $more)))
    (local.get $at))

  (func (export "keystead:entity/handler@0.1.0#describe") (result i32)
    (i32.store (i32.const 0) (i32.const 16384))
    (i32.store (i32.const 4) (i32.const DOCUMENT_LEN))
    (i32.const 0))

  (func $reply (param $at i32) (param $len i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (local.get $at))
    (i32.store (i32.const 8) (local.get $len))
    (i32.const 0))

  (func $fail (result i32)
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (i32.const 304))
    (i32.store (i32.const 8) (i32.const 7))
    (i32.store (i32.const 12) (i32.const 320))
    (i32.store (i32.const 16) (i32.const 9))
    (i32.store8 (i32.const 20) (i32.const 1))
    (i32.store (i32.const 24) (i32.const 352))
    (i32.store (i32.const 28) (i32.const 9))
    (i32.store8 (i32.const 32) (i32.const 1))
    (i32.const 0))

  ;; Recursion on wasm's own stack.
  (func $deep (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))

  ;; Recursion on a stack in linear memory, as Rust's is.
  (func $frames
    (global.set $sp (i32.sub (global.get $sp) (i32.const 64)))
    (i32.store (global.get $sp) (i32.const 1))
    (call $frames)
    (global.set $sp (i32.add (global.get $sp) (i32.const 64))))

  (func $logs
    (local $n i32)
    (loop $again
      (call $emit (i32.const 1) (i32.const 0) (i32.const 20000))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 103)))))

  (func $to_five_mib
    (drop (memory.grow (i32.const 96))))

  (func (export "keystead:entity/handler@0.1.0#handle")
    (param $name i32) (param $name_len i32) (param $in i32) (param $in_len i32) (result i32)
    (local $letter i32)
    (local.set $letter (i32.load8_u (local.get $name)))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))

    ;; e: echo
    (if (i32.eq (local.get $letter) (i32.const 101))
      (then (return (call $reply (local.get $in) (local.get $in_len)))))
    ;; f: fail
    (if (i32.eq (local.get $letter) (i32.const 102)) (then (return (call $fail))))
    ;; l: loop
    (if (i32.eq (local.get $letter) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
    ;; m: memory
    (if (i32.eq (local.get $letter) (i32.const 109))
      (then (loop $for_ever (drop (memory.grow (i32.const 16))) (br $for_ever))))
    ;; s: wasm stack, r: stack in memory
    (if (i32.eq (local.get $letter) (i32.const 115)) (then (drop (call $deep (i32.const 0)))))
    (if (i32.eq (local.get $letter) (i32.const 114)) (then (call $frames)))
    ;; u: unreachable
    (if (i32.eq (local.get $letter) (i32.const 117)) (then (unreachable)))
    ;; p: panic with a reason
    (if (i32.eq (local.get $letter) (i32.const 112))
      (then (call $panicked (i32.const 272) (i32.const 21)) (unreachable)))
    ;; q: a reason for a panic that does not come
    (if (i32.eq (local.get $letter) (i32.const 113))
      (then (call $panicked (i32.const 272) (i32.const 21))))
    ;; w: write
    (if (i32.eq (local.get $letter) (i32.const 119))
      (then (call $set (i32.const 256) (i32.const 3) (local.get $in) (local.get $in_len))))
    ;; g: get
    (if (i32.eq (local.get $letter) (i32.const 103))
      (then
        (call $get (i32.const 256) (i32.const 3) (i32.const 64))
        (if (i32.load8_u (i32.const 64))
          (then (return
            (call $reply (i32.load (i32.const 68)) (i32.load (i32.const 72))))))))
    ;; n: the number of entries that a scan of everything finds
    (if (i32.eq (local.get $letter) (i32.const 110))
      (then
        (call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const -1) (i32.const 0) (i32.const 64))
        (i32.store (i32.const 128) (i32.load (i32.const 68)))
        (return (call $reply (i32.const 128) (i32.const 4)))))
    ;; c: how often this instance was called
    (if (i32.eq (local.get $letter) (i32.const 99))
      (then
        (i32.store (i32.const 128) (global.get $calls))
        (return (call $reply (i32.const 128) (i32.const 4)))))
    ;; b: a reply of 2 MiB
    (if (i32.eq (local.get $letter) (i32.const 98))
      (then
        (call $to_five_mib)
        (return (call $reply (i32.const 0) (i32.const 2097152)))))
    ;; x: a value of 5 MiB
    (if (i32.eq (local.get $letter) (i32.const 120))
      (then
        (call $to_five_mib)
        (call $set (i32.const 256) (i32.const 3) (i32.const 0) (i32.const 5242880))))
    ;; k: keeps 17 MiB
    (if (i32.eq (local.get $letter) (i32.const 107)) (then (drop (memory.grow (i32.const 272)))))
    ;; a: asks once; h: asks for ever
    (if (i32.eq (local.get $letter) (i32.const 97)) (then (drop (call $attempt))))
    (if (i32.eq (local.get $letter) (i32.const 104))
      (then (loop $for_ever (drop (call $attempt)) (br $for_ever))))
    ;; d: a wild read
    (if (i32.eq (local.get $letter) (i32.const 100))
      (then (drop (i32.load (i32.const -16)))))
    ;; o: log a lot
    (if (i32.eq (local.get $letter) (i32.const 111)) (then (call $logs)))
    ;; t: send in a second
    (if (i32.eq (local.get $letter) (i32.const 116))
      (then
        (call $send (i32.const 336) (i32.const 5) (i32.const 256) (i32.const 3) (i32.const 304)
          (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 1) (i64.const 1000) (i32.const 64))
        (return (call $reply (i32.load (i32.const 64)) (i32.load (i32.const 68))))))

    ;; v: the same, and hear patiently what came of it
    (if (i32.eq (local.get $letter) (i32.const 118))
      (then
        (call $call_then (i32.const 336) (i32.const 5) (i32.const 256) (i32.const 3) (i32.const 304)
          (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 1) (i64.const 1000)
          (i32.const 256) (i32.const 3) (i32.const 352) (i32.const 9) (i32.const 1) (i32.const 64))
        (return (call $reply (i32.load (i32.const 64)) (i32.load (i32.const 68))))))
    ;; y: a callback for a second
    (if (i32.eq (local.get $letter) (i32.const 121))
      (then
        (call $create (i32.const 256) (i32.const 3) (i32.const 352) (i32.const 9) (i32.const 0)
          (i32.const 1) (i64.const 1000) (i32.const 64))
        (return (call $reply (i32.load (i32.const 64)) (i32.load (i32.const 68))))))
    ;; z: withdraws it; one byte says whether
    (if (i32.eq (local.get $letter) (i32.const 122))
      (then
        (i32.store8 (i32.const 128) (call $withdraw (local.get $in) (local.get $in_len)))
        (return (call $reply (i32.const 128) (i32.const 1)))))

    (call $reply (i32.const 0) (i32.const 0)))

  (func (export "cabi_post_keystead:entity/handler@0.1.0#handle") (param i32)
    (global.set $heap (i32.const 131072))))
