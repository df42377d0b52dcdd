"""Answers with what was asked, through Django's development server, which runs itself twice."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import re_path


def answer(request):
    told = request.headers["x-fc-control-path"]
    print("served", request.headers["x-fc-request-id"])
    text = f"{request.method} {request.get_full_path()} {told} {request.body.decode()}"
    return HttpResponse(text, status=201, headers={"Function-Name": os.environ["FC_FUNCTION_NAME"]})


urlpatterns = [re_path("", answer)]

if __name__ == "__main__":
    settings.configure(
        DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test", MIDDLEWARE=[]
    )
    execute_from_command_line(sys.argv)
