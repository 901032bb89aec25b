"""A plugin of the tests in Python: its hooks never answer, what it hears
and its action call the host."""

import threading

import guildhall_plugin
from guildhall.plugin.v1 import host_pb2

ended = threading.Event()


def hang(call, change):
    ended.wait()


def hear(call, event):
    call.host("SetValue", host_pb2.SetValueRequest(key="heard", value=event["type"].encode()))


def talk(call, action):
    heard = call.host("GetValue", host_pb2.GetValueRequest(key="heard")).value.decode()
    status, task = call.api("GET", "/v1/tasks/" + action.subject_id)
    call.log("talked", status=status)
    return guildhall_plugin.Result("Talked.", {"status": status, "title": task["title"], "heard": heard})


guildhall_plugin.serve(
    guildhall_plugin.Plugin(
        hear=hear, hooks={"task.will_create": hang, "comment.will_create": hang}, actions={"talk": talk}
    )
)
