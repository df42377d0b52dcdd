"""Answers with what was asked, through Tornado."""

import os

import tornado.ioloop
import tornado.web


class Everything(tornado.web.RequestHandler):
    def get(self):
        request = self.request
        print("served", request.headers["x-fc-request-id"])
        self.set_status(201)
        self.set_header("Function-Name", os.environ["FC_FUNCTION_NAME"])
        told = request.headers["x-fc-control-path"]
        self.write(f"{request.method} {request.uri} {told} {request.body.decode()}")

    post = put = get


tornado.web.Application([(r".*", Everything)]).listen(9000, "0.0.0.0")
tornado.ioloop.IOLoop.current().start()
