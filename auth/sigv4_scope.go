package auth

import (
	"regexp"
	"slices"
	"strings"
)

// awsScope is where a signature is good: one service in one region.
type awsScope struct{ region, service string }

var (
	awsRegion = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)
	awsName   = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`) // of regions and services that a record names
)

// awsSuffixes end the hosts of AWS, longer ones first.
var awsSuffixes = []string{
	".api.amazonwebservices.com.cn", ".amazonaws.com.cn", ".amazonaws.com", ".api.amazonwebservices.eu", ".amazonaws.eu", ".api.aws", ".on.aws",
}

// awsSigning are the names that services sign by, where that is not the last
// label before the region, as botocore's service models give them. A key of two
// labels goes before its last one.
var awsSigning = map[string]string{
	"email": "ses", "mail-manager": "ses", "pinpoint": "mobiletargeting", "sms-voice.pinpoint": "sms-voice",
	"ddb": "dynamodb", "queue": "sqs", "appstream2": "appstream", "appconfigdata": "appconfig", "cloudhsmv2": "cloudhsm",
	"bedrock-agent": "bedrock", "bedrock-agent-runtime": "bedrock", "bedrock-runtime": "bedrock", "bedrock-data-automation": "bedrock",
	"bedrock-data-automation-runtime": "bedrock", "bedrock-agentcore-control": "bedrock-agentcore",
	"identity-chime": "chime", "media-pipelines-chime": "chime", "meetings-chime": "chime", "messaging-chime": "chime", "voice-chime": "chime",
	"contact-lens": "connect", "participant.connect": "execute-api", "appsync-api": "appsync", "lambda-url": "lambda",
	"models-v2-lex": "lex", "runtime-v2-lex": "lex", "marketplace": "aws-marketplace", "agreement-marketplace": "aws-marketplace",
	"deployment-marketplace": "aws-marketplace", "discovery-marketplace": "aws-marketplace", "reporting-marketplace": "aws-marketplace",
	"memory-db": "memorydb", "migrationhub-config": "mgh", "forecastquery": "forecast", "ivsrealtime": "ivs", "cassandra-streams": "cassandra",
	"personalize-events": "personalize", "personalize-runtime": "personalize", "oidc": "sso-oauth", "portal.sso": "awsssoportal",
	"data-signer": "signer", "data.iotevents": "ioteventsdata", "data-ats.iot": "iotdata", "data.iot": "iotdata", "jobs.iot": "iot-jobs-data",
	"tunneling.iot": "IoTSecuredTunneling", "sync-states": "states", "stream-logs": "logs", "data-servicediscovery": "servicediscovery",
	"runtime-medical-imaging": "medical-imaging", "data-lakeformation": "lakeformation", "query-lakeformation": "lakeformation",
}

// awsReversed services stand behind the region: NAME.REGION.es.amazonaws.com.
var awsReversed = map[string]string{
	"es": "es", "aoss": "aoss", "cloudsearch": "cloudsearch", "queue": "sqs", "elasticmapreduce": "elasticmapreduce",
}

// awsGlobal are the hosts without a region, and the region that they are signed for.
var awsGlobal = map[string]awsScope{
	"iam.amazonaws.com": {"us-east-1", "iam"}, "sts.amazonaws.com": {"us-east-1", "sts"}, "cloudfront.amazonaws.com": {"us-east-1", "cloudfront"},
	"route53.amazonaws.com": {"us-east-1", "route53"}, "budgets.amazonaws.com": {"us-east-1", "budgets"}, "waf.amazonaws.com": {"us-east-1", "waf"},
	"global.health.amazonaws.com": {"us-east-1", "health"}, "organizations.amazonaws.com": {"us-east-1", "organizations"},
	"s3.amazonaws.com": {"us-east-1", "s3"}, "sdb.amazonaws.com": {"us-east-1", "sdb"}, "queue.amazonaws.com": {"us-east-1", "sqs"},
	"iam.us-gov.amazonaws.com": {"us-gov-west-1", "iam"}, "route53.us-gov.amazonaws.com": {"us-gov-west-1", "route53"},
	"budgets.amazonaws.com.cn": {"cn-northwest-1", "budgets"}, "route53.amazonaws.com.cn": {"cn-northwest-1", "route53"},
	"global.health.amazonaws.com.cn": {"cn-northwest-1", "health"},
}

// awsScopeOf reads the scope from a host of AWS, without its port. What the host
// does not tell stays empty.
func awsScopeOf(host string) awsScope {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if s, ok := awsGlobal[host]; ok {
		return s
	}
	i := slices.IndexFunc(awsSuffixes, func(s string) bool { return strings.HasSuffix(host, s) })
	if i < 0 {
		return awsScope{}
	}
	labels := strings.Split(strings.TrimSuffix(host, awsSuffixes[i]), ".")
	if s, ok := s3Scope(labels, awsSuffixes[i]); ok {
		return s
	}
	return serviceScope(labels)
}

// serviceScope reads [...]SERVICE.REGION, or [...]REGION.SERVICE.
func serviceScope(labels []string) awsScope {
	n := len(labels)
	if n < 2 {
		return awsScope{}
	}
	before, last := labels[n-2], labels[n-1]
	if service, ok := awsReversed[last]; ok && awsRegion.MatchString(before) {
		return awsScope{before, service}
	}
	if !awsRegion.MatchString(last) {
		return awsScope{}
	}
	name := strings.TrimSuffix(before, "-fips")
	if n > 2 {
		ahead := labels[n-3]
		if strings.HasSuffix(ahead, "-ats") { // an account's own name
			ahead = "data-ats"
		}
		if service, ok := awsSigning[ahead+"."+name]; ok {
			return awsScope{last, service}
		}
	}
	if service, ok := awsSigning[name]; ok {
		return awsScope{last, service}
	}
	if !awsName.MatchString(name) || strings.HasPrefix(name, "s3express-") { // a zone, whose name is not the service's
		return awsScope{region: last}
	}
	return awsScope{last, name}
}

// s3Services are the labels of S3's hosts.
var s3Services = map[string]string{
	"s3": "s3", "s3-fips": "s3", "s3-accesspoint": "s3", "s3-accesspoint-fips": "s3", "s3-control": "s3", "s3-control-fips": "s3",
	"s3-accelerate": "s3", "s3-outposts": "s3-outposts", "s3-object-lambda": "s3-object-lambda",
}

// s3Scope reads the hosts of S3: [BUCKET.]s3[.dualstack].REGION, the old
// [BUCKET.]s3-REGION, and BUCKET.s3 without a region. A bucket's name may hold dots.
func s3Scope(labels []string, suffix string) (awsScope, bool) {
	for i := len(labels) - 1; i >= max(0, len(labels)-3); i-- {
		rest := labels[i+1:]
		if len(rest) > 0 && rest[0] == "dualstack" {
			rest = rest[1:]
		}
		service, known := s3Services[labels[i]]
		old := strings.TrimPrefix(labels[i], "s3-")
		switch {
		case known && len(rest) == 1 && awsRegion.MatchString(rest[0]):
			return awsScope{rest[0], service}, true
		case known && len(rest) == 0 && labels[i] == "s3-accelerate": // of a bucket in any region
			return awsScope{service: service}, true
		case known && len(rest) == 0 && labels[i] == "s3" && suffix == ".amazonaws.com", len(rest) == 0 && labels[i] == "s3-external-1":
			return awsScope{"us-east-1", "s3"}, true
		case len(rest) == 0 && old != labels[i] && awsRegion.MatchString(old):
			return awsScope{old, "s3"}, true
		}
	}
	return awsScope{}, false
}

// s3 reports whether a service follows S3's rules: its paths are signed as they
// are sent, the payload's hash is a field of its own, and need not be one.
func (s awsScope) s3() bool { return strings.HasPrefix(s.service, "s3") }
