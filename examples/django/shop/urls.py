"""Which view answers which path."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index),
    path("items/<slug:name>/", views.item),
]
