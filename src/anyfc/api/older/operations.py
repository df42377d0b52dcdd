"""The operations of the API before 3.0, in which services contain functions.

Source: api.md 10.1; names as in API version 2021-04-06, and as in 2016-08-15 where only that has
the operation.
"""

from anyfc.api.older import functions, services, triggers
from anyfc.api.parts import Operations

# InvokeFunction is the gateway's and does not come here.
SERVICE = "/services/{serviceName}"
FUNCTION = SERVICE + "/functions/{functionName}"
OPERATIONS: Operations = (
    ("GetAccountSettings", "GET", "/account-settings", services.get_account),
    # Services, functions, triggers
    ("CreateService", "POST", "/services", services.create),
    ("GetService", "GET", SERVICE, services.get),
    ("UpdateService", "PUT", SERVICE, services.update),
    ("DeleteService", "DELETE", SERVICE, services.delete),
    ("ListServices", "GET", "/services", services.list_),
    ("CreateFunction", "POST", SERVICE + "/functions", functions.create),
    ("GetFunction", "GET", FUNCTION, functions.get),
    ("UpdateFunction", "PUT", FUNCTION, functions.update),
    ("DeleteFunction", "DELETE", FUNCTION, functions.delete),
    ("ListFunctions", "GET", SERVICE + "/functions", functions.list_),
    ("GetFunctionCode", "GET", FUNCTION + "/code", functions.get_code),
    ("InvokeFunction", "POST", FUNCTION + "/invocations", None),
    ("CreateTrigger", "POST", FUNCTION + "/triggers", triggers.create),
    ("GetTrigger", "GET", FUNCTION + "/triggers/{triggerName}", triggers.get),
    ("UpdateTrigger", "PUT", FUNCTION + "/triggers/{triggerName}", triggers.update),
    ("DeleteTrigger", "DELETE", FUNCTION + "/triggers/{triggerName}", triggers.delete),
    ("ListTriggers", "GET", FUNCTION + "/triggers", triggers.list_),
    # Versions, aliases, custom domains, layers
    ("PublishServiceVersion", "POST", SERVICE + "/versions", None),
    ("ListServiceVersions", "GET", SERVICE + "/versions", None),
    ("DeleteServiceVersion", "DELETE", SERVICE + "/versions/{versionId}", None),
    ("CreateAlias", "POST", SERVICE + "/aliases", None),
    ("GetAlias", "GET", SERVICE + "/aliases/{aliasName}", None),
    ("UpdateAlias", "PUT", SERVICE + "/aliases/{aliasName}", None),
    ("DeleteAlias", "DELETE", SERVICE + "/aliases/{aliasName}", None),
    ("ListAliases", "GET", SERVICE + "/aliases", None),
    ("CreateCustomDomain", "POST", "/custom-domains", None),
    ("GetCustomDomain", "GET", "/custom-domains/{domainName}", None),
    ("UpdateCustomDomain", "PUT", "/custom-domains/{domainName}", None),
    ("DeleteCustomDomain", "DELETE", "/custom-domains/{domainName}", None),
    ("ListCustomDomains", "GET", "/custom-domains", None),
    ("CreateLayerVersion", "POST", "/layers/{layerName}/versions", None),
    ("GetLayerVersion", "GET", "/layers/{layerName}/versions/{version}", None),
    ("DeleteLayerVersion", "DELETE", "/layers/{layerName}/versions/{version}", None),
    ("ListLayerVersions", "GET", "/layers/{layerName}/versions", None),
    ("ListLayers", "GET", "/layers", None),
    ("PutLayerACL", "PUT", "/layers/{layerName}/acl", None),
    # Async, scaling, instances
    ("PutFunctionAsyncInvokeConfig", "PUT", FUNCTION + "/async-invoke-config", None),
    ("GetFunctionAsyncInvokeConfig", "GET", FUNCTION + "/async-invoke-config", None),
    ("DeleteFunctionAsyncInvokeConfig", "DELETE", FUNCTION + "/async-invoke-config", None),
    ("ListFunctionAsyncInvokeConfigs", "GET", FUNCTION + "/async-invoke-configs", None),
    ("ListStatefulAsyncInvocations", "GET", FUNCTION + "/stateful-async-invocations", None),
    ("GetStatefulAsyncInvocation", "GET", FUNCTION + "/stateful-async-invocations/{id}", None),
    ("StopStatefulAsyncInvocation", "PUT", FUNCTION + "/stateful-async-invocations/{id}", None),
    ("ListStatefulAsyncInvocationFunctions", "GET", "/stateful-async-invocation-functions", None),
    ("PutProvisionConfig", "PUT", FUNCTION + "/provision-config", None),
    ("GetProvisionConfig", "GET", FUNCTION + "/provision-config", None),
    ("ListProvisionConfigs", "GET", "/provision-configs", None),
    ("PutFunctionOnDemandConfig", "PUT", FUNCTION + "/on-demand-config", None),
    ("GetFunctionOnDemandConfig", "GET", FUNCTION + "/on-demand-config", None),
    ("DeleteFunctionOnDemandConfig", "DELETE", FUNCTION + "/on-demand-config", None),
    ("ListOnDemandConfigs", "GET", "/on-demand-configs", None),
    ("ListInstances", "GET", FUNCTION + "/instances", None),
    ("InstanceExec", "GET", FUNCTION + "/instances/{instanceId}/exec", None),
    # VPC bindings, tags, account, event sources, code by object storage
    ("CreateVpcBinding", "POST", SERVICE + "/bindings", None),
    ("ListVpcBindings", "GET", SERVICE + "/bindings", None),
    ("DeleteVpcBinding", "DELETE", SERVICE + "/bindings/{vpcId}", None),
    ("TagResource", "POST", "/tag", None),
    ("GetResourceTags", "GET", "/tag", None),
    ("UntagResource", "PUT", "/tag", None),
    ("UntagResource", "DELETE", "/tag", None),
    ("ListTaggedResources", "GET", "/tags", None),
    ("ListReservedCapacities", "GET", "/reservedCapacities", None),
    ("ListReservedCapacities", "GET", "/reserved-capacities", None),
    ("RegisterEventSource", "POST", FUNCTION + "/event-sources", None),
    ("ListEventSources", "GET", FUNCTION + "/event-sources", None),
    ("DeregisterEventSource", "DELETE", FUNCTION + "/event-sources/{sourceArn}", None),
    ("GetTempBucketToken", "GET", "/tempBucketToken", None),
    ("GetTempCodeBucketToken", "GET", SERVICE + "/tempCodeBucketToken", None),
)
