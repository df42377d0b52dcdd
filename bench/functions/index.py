"""The handler that anyfc, functions-framework and the AWS emulator all run."""


def handler(event, context=None):  # functions-framework gives one argument
    return "hello world"
