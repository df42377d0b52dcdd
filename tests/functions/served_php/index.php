<?php
// Answers with what was asked, through PHP's own web server.

$asked = $_SERVER;
error_log("served " . $asked["HTTP_X_FC_REQUEST_ID"]);
http_response_code(201);
header("Function-Name: " . getenv("FC_FUNCTION_NAME"));
$told = $asked["HTTP_X_FC_CONTROL_PATH"];
$body = file_get_contents("php://input");
echo "$asked[REQUEST_METHOD] $asked[REQUEST_URI] $told $body";
