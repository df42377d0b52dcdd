# Answers with what was asked, once.

read -r method target _
while IFS=$': \r' read -r name value && [ -n "$name" ]; do
    case "${name,,}" in
        content-length) length=$value ;;
        x-fc-request-id) request_id=$value ;;
        x-fc-control-path) told=$value ;;
    esac
done
[ -n "$length" ] && [ "$length" != 0 ] && body=$(head -c "$length")
echo "served $request_id" >&2
text="$method $target $told $body"
printf 'HTTP/1.1 201 Created\r\nFunction-Name: %s\r\nConnection: close\r\n' "$FC_FUNCTION_NAME"
printf 'Content-Length: %d\r\n\r\n%s' "${#text}" "$text"
