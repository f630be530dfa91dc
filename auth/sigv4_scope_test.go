package auth

import "testing"

func TestAWSScope(t *testing.T) {
	for host, want := range map[string]awsScope{
		"s3.eu-west-1.amazonaws.com":                                   {"eu-west-1", "s3"},
		"S3.EU-West-1.AmazonAWS.com.":                                  {"eu-west-1", "s3"},
		"bucket.s3.eu-west-1.amazonaws.com":                            {"eu-west-1", "s3"},
		"my.dotted.bucket.s3.eu-west-1.amazonaws.com":                  {"eu-west-1", "s3"},
		"s3.s3.us-east-2.amazonaws.com":                                {"us-east-2", "s3"},
		"bucket.s3.dualstack.us-west-2.amazonaws.com":                  {"us-west-2", "s3"},
		"bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com":         {"us-gov-west-1", "s3"},
		"bucket.s3-us-west-2.amazonaws.com":                            {"us-west-2", "s3"},
		"s3.amazonaws.com":                                             {"us-east-1", "s3"},
		"bucket.s3.amazonaws.com":                                      {"us-east-1", "s3"},
		"s3-external-1.amazonaws.com":                                  {"us-east-1", "s3"},
		"bucket.s3-accelerate.amazonaws.com":                           {"", "s3"},
		"bucket.s3-accelerate.dualstack.amazonaws.com":                 {"", "s3"},
		"bucket.s3.cn-north-1.amazonaws.com.cn":                        {"cn-north-1", "s3"},
		"123456789012.s3-control.us-east-1.amazonaws.com":              {"us-east-1", "s3"},
		"ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com":       {"eu-west-1", "s3"},
		"ap-123456789012.s3-object-lambda.eu-west-1.amazonaws.com":     {"eu-west-1", "s3-object-lambda"},
		"ap.op-0.s3-outposts.us-west-2.amazonaws.com":                  {"us-west-2", "s3-outposts"},
		"b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com": {"us-east-1", ""},
		"iam.amazonaws.com":                                            {"us-east-1", "iam"},
		"sts.amazonaws.com":                                            {"us-east-1", "sts"},
		"sts.eu-central-1.amazonaws.com":                               {"eu-central-1", "sts"},
		"cloudfront.amazonaws.com":                                     {"us-east-1", "cloudfront"},
		"iam.us-gov.amazonaws.com":                                     {"us-gov-west-1", "iam"},
		"iam.cn-north-1.amazonaws.com.cn":                              {"cn-north-1", "iam"},
		"global.health.amazonaws.com":                                  {"us-east-1", "health"},
		"email.eu-west-1.amazonaws.com":                                {"eu-west-1", "ses"},
		"sqs.us-east-1.amazonaws.com":                                  {"us-east-1", "sqs"},
		"us-east-1.queue.amazonaws.com":                                {"us-east-1", "sqs"},
		"dynamodb.ap-southeast-2.amazonaws.com":                        {"ap-southeast-2", "dynamodb"},
		"123456789012.ddb.us-east-1.amazonaws.com":                     {"us-east-1", "dynamodb"},
		"streams.dynamodb.us-east-1.amazonaws.com":                     {"us-east-1", "dynamodb"},
		"kms-fips.us-east-1.amazonaws.com":                             {"us-east-1", "kms"},
		"lambda.us-east-1.api.aws":                                     {"us-east-1", "lambda"},
		"abc.lambda-url.us-east-1.on.aws":                              {"us-east-1", "lambda"},
		"abc123.execute-api.us-east-1.amazonaws.com":                   {"us-east-1", "execute-api"},
		"bedrock-runtime.us-east-1.amazonaws.com":                      {"us-east-1", "bedrock"},
		"runtime.sagemaker.us-east-1.amazonaws.com":                    {"us-east-1", "sagemaker"},
		"runtime-v2-lex.us-east-1.amazonaws.com":                       {"us-east-1", "lex"},
		"metering.marketplace.us-east-1.amazonaws.com":                 {"us-east-1", "aws-marketplace"},
		"api.ecr.us-east-1.amazonaws.com":                              {"us-east-1", "ecr"},
		"a1b2-ats.iot.us-east-1.amazonaws.com":                         {"us-east-1", "iotdata"},
		"iot.us-east-1.amazonaws.com":                                  {"us-east-1", "iot"},
		"participant.connect.us-east-1.amazonaws.com":                  {"us-east-1", "execute-api"},
		"search-x.eu-west-1.es.amazonaws.com":                          {"eu-west-1", "es"},
		"x.us-east-1.aoss.amazonaws.com":                               {"us-east-1", "aoss"},
		"kms.eusc-de-east-1.amazonaws.eu":                              {"eusc-de-east-1", "kms"},
		"amazonaws.com":                                                {},
		"example.com":                                                  {},
		"s3.eu-west-1.amazonaws.com.evil.example":                      {},
		"eu-west-1.amazonaws.com":                                      {},
		"s3.eu-west-1.evilamazonaws.com":                               {},
		"service.nowhere.amazonaws.com":                                {},
		"":                                                             {},
		"127.0.0.1":                                                    {},
	} {
		if got := awsScopeOf(host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
}

// Whatever a host is: what is read of it can stand in a credential scope.
func FuzzAWSScope(f *testing.F) {
	for _, s := range []string{"b.s3.dualstack.eu-west-1.amazonaws.com", "x-ats.iot.us-east-1.amazonaws.com", "us-east-1.queue.amazonaws.com", "s3-.amazonaws.com", "..api.aws"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		s := awsScopeOf(host)
		if s.region != "" && !awsRegion.MatchString(s.region) || s.service != "" && !awsName.MatchString(s.service) {
			t.Errorf("%q: %+v", host, s)
		}
	})
}
