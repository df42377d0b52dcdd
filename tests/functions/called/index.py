def handler(event, context):
    print("called")
    return len(event)
