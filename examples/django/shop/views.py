"""The views."""

from django.http import Http404, HttpRequest, JsonResponse

PRICES = {"tea": 4, "coffee": 5}


def index(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"items": sorted(PRICES)})


def item(request: HttpRequest, name: str) -> JsonResponse:
    if name not in PRICES:
        raise Http404(name)
    return JsonResponse({"name": name, "price": PRICES[name]})
